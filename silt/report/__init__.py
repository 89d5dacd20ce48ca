"""A page about tables: what came, what was rejected, what is due, what it costs."""
