"""The maintenance function in a process of its own, with a day that a test can await.

    python -m tests.torture.maintenance

The environment holds its settings, as in Lambda; VACUUM_EVERY_MS shortens what lasts for a day.
"""

import json
import os
import sys

from handler import maintenance
from handler.errors import SiltError
from handler.upkeep import cleaning

cleaning.VACUUM_EVERY_MS = int(os.environ.pop("VACUUM_EVERY_MS", cleaning.VACUUM_EVERY_MS))


def main() -> int:
    """Maintain all tables once. Returns 1 if one could not be."""
    try:
        answer = maintenance.lambda_handler({}, None)
    except SiltError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
