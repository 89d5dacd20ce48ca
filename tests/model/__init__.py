"""The protocol as models of a page each, that enumerate all their states."""
