"""The local twin of AWS: broker, event source mapping, Lambda runtime, S3, and a demo of them."""
