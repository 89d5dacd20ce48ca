"""The `silt` command and the local event source mapping: what runs on a person's machine."""
