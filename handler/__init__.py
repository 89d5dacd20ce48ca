"""What ships to AWS Lambda: a Kafka batch in, one exactly-once Delta append out."""

__version__ = "0.1.0"
__build__ = __version__
"""The version and a digest of what the artifact was made from: `silt package` writes it here."""
