"""The Delta engine's work on a table, in a process of its own: it may be killed like any other.

    python -m tests.torture.engine checkpoint s3://lake/table

A process of its own also because the engine keeps Python's lock while it waits for a store, which
would stop the proxy if that ran in the same process.
"""

import sys

from deltalake import DeltaTable

DEEDS = {
    "checkpoint": DeltaTable.create_checkpoint,
    "vacuum": lambda table: table.vacuum(168, dry_run=False),
    "clean": DeltaTable.cleanup_metadata,
}

if __name__ == "__main__":
    DEEDS[sys.argv[1]](DeltaTable(sys.argv[2]))
