"""Questions to the tables, answered by DuckDB."""
