"""make bench: where the time of a nested batch goes, as a flame graph of the running function.

py-spy samples the process of the real runtime client while it gets one event after the other.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from bench.checkout import FOLDER
from bench.measured import start_function
from bench.work import WORKS, event_at
from silt import output

SECONDS, RATE = 8, 400
WARM_UP = 5


def main() -> int:
    """Sample, and write the picture."""
    parser = argparse.ArgumentParser(prog="bench.flame", description=__doc__)
    parser.add_argument("sampler", type=Path, help="py-spy")
    parser.add_argument("target", type=Path, help="the SVG that is written")
    options = parser.parse_args()
    work = WORKS[0]
    function = start_function(work.contract, FOLDER / "flame")
    payloads = work.payloads()
    number = 0

    def invoke() -> None:
        nonlocal number
        function.invoke(event_at(number * len(payloads), payloads))
        number += 1

    try:
        for _ in range(WARM_UP):
            invoke()
        asked = ["--duration", str(SECONDS), "--rate", str(RATE), "--format", "flamegraph"]
        place = ["--pid", str(function.pid), "--output", str(options.target)]
        sampler = subprocess.Popen(
            [str(options.sampler), "record", "--function", *asked, *place],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        while sampler.poll() is None:
            invoke()
    finally:
        function.close()
    if sampler.returncode:
        assert sampler.stderr is not None
        output.warn(
            f"{options.target} stays as it was, because py-spy could not sample the function: "
            f"{sampler.stderr.read().strip()} Run it as root, or allow ptrace: sysctl "
            "kernel.yama.ptrace_scope=0"
        )
        return 0
    output.say(f"Written: {options.target}, {number - WARM_UP} batches of {work.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
