"""An append to a Delta table as a compare-and-swap on its log. Knows nothing of Kafka or Lambda."""
