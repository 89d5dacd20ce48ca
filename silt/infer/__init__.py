"""From records, tables and schemas to a contract."""
