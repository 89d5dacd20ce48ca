"""The maintenance function in a process of its own, with a lease and a day that a test can await.

    python -m tests.torture.maintenance

The environment holds its settings, as in Lambda; LEASE_MS and VACUUM_EVERY_MS shorten what lasts
for minutes and for a day.
"""

import json
import os
import sys

from handler import maintenance
from handler.errors import SiltError
from handler.upkeep import keeper, lease

LEASE_MS = int(os.environ.pop("LEASE_MS", lease.LEASE_MS))
VACUUM_EVERY_MS = int(os.environ.pop("VACUUM_EVERY_MS", keeper.VACUUM_EVERY_MS))


def main() -> int:
    """Maintain all tables once. Returns 1 if one could not be."""
    lease.LEASE_MS = keeper.LEASE_MS = LEASE_MS
    keeper.VACUUM_EVERY_MS = VACUUM_EVERY_MS
    try:
        answer = maintenance.lambda_handler({}, None)
    except SiltError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
