"""Samples of records, judged by a contract without a table."""
