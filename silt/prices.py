"""AWS's list prices of us-east-1 in USD, as of November 2026: look yours up."""

PUT_THOUSAND, GET_THOUSAND = 0.005, 0.0004
"""Requests to S3."""
STORED_GB_MONTH = 0.023
"""S3 Standard, the first 50 TB."""

MONTH_S = 730 * 3600
BATCH_MB = 3.3
"""10,000 records of 330 bytes: BatchSize ends a batch before 6 MB do."""
