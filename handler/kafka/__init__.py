"""What Kafka and its event source mapping bring: events, streams and offsets."""
