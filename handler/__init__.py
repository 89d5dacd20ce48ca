"""What ships to AWS Lambda: a Kafka batch in, one exactly-once Delta append out."""

__version__ = "0.1.0"
