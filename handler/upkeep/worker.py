"""The Delta engine's work on one table, in a process of its own: the only module that imports it.

    echo '{"table": "s3://lake/sales/orders", "do": "checkpoint"}' |
        python -m handler.upkeep.worker

A process of its own, because it may have to be ended: the engine cannot be interrupted, keeps the
memory that it took, and holds Python's lock while it waits for a store. To kill it is safe at any
moment. It prints one line of JSON.
"""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from deltalake import DeltaTable

Job = Mapping[str, Any]

VACUUM_HOURS_MIN = 24
"""The last of several guards: no job, wherever it comes from, vacuums younger files."""


def checkpoint(table: DeltaTable, _job: Job) -> Job:
    """Write a checkpoint of the version that the table was opened at."""
    table.create_checkpoint()
    return {"version": table.version()}


def vacuum(table: DeltaTable, job: Job) -> Job:
    """Name the files that no snapshot of the last `hours` names; it deletes nothing.

    The engine's own deletion would clean the log too, whatever its hooks are set to.
    """
    if job["hours"] < VACUUM_HOURS_MIN:
        raise ValueError(f"a vacuum of files younger than {VACUUM_HOURS_MIN} hours was asked for")
    # The engine's full vacuum takes the files of live deletion vectors for unreferenced ones; the
    # other kind names only what the log has as removed.
    full = "deletionVectors" not in (table.protocol().reader_features or ())
    # A dry run may look before the table has the contract's retention.
    return {"files": table.vacuum(job["hours"], enforce_retention_duration=False, full=full)}


JOBS: Mapping[str, Callable[[DeltaTable, Job], Job]] = {
    "checkpoint": checkpoint,
    "vacuum": vacuum,
}


def main() -> int:
    """Do the job that standard input names. Returns 1 if it could not be done."""
    job = json.load(sys.stdin)
    try:
        answer = JOBS[job["do"]](DeltaTable(job["table"], version=job.get("version")), job)
    except Exception as error:
        text = " ".join(str(error).split())[:1000]
        sys.stdout.write(json.dumps({"error": type(error).__name__, "message": text}) + "\n")
        return 1
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
