"""Draw how an invocation grows: `python plot_growth.py bench.json growth.png`.

It runs in an environment of its own, which alone has matplotlib.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def draw(growth: dict[str, list[dict[str, Any]]], target: Path) -> None:
    """Draw a panel for each series."""
    figure, axes = pyplot.subplots(2, 3, figsize=(11, 6), layout="constrained")
    for axis, (name, points) in zip(axes.flat, growth.items(), strict=True):
        x = [point["x"] for point in points]
        axis.plot(x, [point["median_ms"] for point in points], "o-", label="median")
        axis.plot(x, [point["least_ms"] for point in points], ":", label="least")
        if max(x) > 100 * max(1, min(x)):
            axis.set_xscale("symlog" if 0 in x else "log")
            axis.set_yscale("log")
        else:
            axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
        axis.set_xlabel(name)
        axis.grid(alpha=0.3)
    for row in axes:
        row[0].set_ylabel("CPU of an invocation, ms")
    axes.flat[0].legend(loc="upper left")
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())["growth"], Path(sys.argv[2]))
