"""How a table is to be kept: sizes, ages, the order of rows."""

import msgspec

DAY_MS = 86_400_000
RETENTION_MIN_MS = DAY_MS
"""What was removed stays for a day at least: longer than an invocation (15 minutes), a query of
Athena (30 minutes, by quota a few hours) or a job that reads one snapshot from beginning to end."""


class Upkeep(msgspec.Struct, frozen=True):
    """How one table is to be kept. Sizes are in bytes, times in milliseconds.

    A retention of None is the table's own. `expire_ms`: redriven dead letters are removed after it.
    """

    enabled: bool
    target_file_size: int
    sort_by: tuple[str, ...]
    checkpoint_commits: int
    quiet_for_ms: int
    retain_ms: int | None
    log_retain_ms: int | None
    expire_ms: int | None = None
