"""A YAML file in, a `Contract` out: its columns, its rules, and the schemas of its two tables."""
