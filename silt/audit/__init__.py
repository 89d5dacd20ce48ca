"""The promise, proved from a table afterwards."""
