"""From checked columns to one commit: outcomes, schema evolution, Arrow tables, the writer."""
