"""Validation: bytes of a batch in, finished columns and rejects out."""
