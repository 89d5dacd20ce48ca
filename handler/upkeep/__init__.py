"""How a table is kept in shape: when it is due, who may, and the Delta engine that does it."""
