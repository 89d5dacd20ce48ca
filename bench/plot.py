"""Draw the report of a soak as a picture: `python plot.py report.json soak.png`.

It runs in an environment of its own, which alone has matplotlib.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def draw(report: dict[str, Any], target: Path) -> None:
    """Draw memory, latency, freshness and lag over the minutes."""
    calls, samples = report["invocations"], report["samples"]
    figure, axes = pyplot.subplots(4, 1, figsize=(9, 9), sharex=True, layout="constrained")
    minutes = [sample["at"] / 60 for sample in samples]
    for i in range(max(len(sample["memory_mb"]) for sample in samples)):
        memory = [(s["memory_mb"][i] if i < len(s["memory_mb"]) else None) for s in samples]
        axes[0].plot(minutes, memory, label=f"sandbox {i + 1}")
    axes[0].set_ylabel("resident memory, MB")
    axes[0].legend(loc="lower right")
    at = [call["at"] / 60 for call in calls]
    axes[1].plot(at, [call["write_ms"] for call in calls], ".", markersize=2)
    axes[1].set_ylabel("append, ms")
    axes[1].set_yscale("log")
    fresh = [(c["at"] / 60, c["freshness_ms"] / 1000) for c in calls if "freshness_ms" in c]
    axes[2].plot(*zip(*fresh, strict=True), ".", markersize=2)
    axes[2].set_ylabel("age of the oldest\nrecord of a batch, s")
    axes[3].plot(minutes, [sample["behind"] for sample in samples])
    axes[3].set_ylabel("records behind")
    axes[3].set_xlabel("minutes")
    for axis in axes:
        if axis.get_yscale() == "linear":
            axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
        axis.grid(alpha=0.3)
    figure.suptitle(
        f"{report['confirmed']:,} records at {report['per_second']} a second, "
        f"{len(report['maintenance_s'])} rounds of maintenance beside them"
    )
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
