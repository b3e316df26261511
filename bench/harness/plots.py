"""The results as plots, by matplotlib in the virtual environment: one SVG for each."""

import io
import json
import sys
from pathlib import Path
from statistics import median

import matplotlib
import matplotlib.figure

from . import figures, plan
from .colours import OTHERS, OURS, with_dark_ones

matplotlib.use("svg")
# The same results give the same file.
matplotlib.rcParams.update({"svg.hashsalt": "outboard", "svg.fonttype": "none", "font.size": 10})

# Which way is better, below the scale.
LESS, MORE = "← less is better", "more is better →"


def main():
    results, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    trips = {"p50": ("roundtrip_us", "p50"), "p99": ("roundtrip_us", "p99")}
    draw(results, folder / "roundtrip.svg", "speed", "round trip of x + 1, µs", LESS, trips)
    paced = {"p50": ("paced_us", "p50"), "p99": ("paced_us", "p99")}
    draw(results, folder / "paced.svg", "speed", "x + 1 after a pause of 1 ms, µs", LESS, paced)
    spent = {"": ("cpu_us",)}
    draw(results, folder / "cpu.svg", "speed", "CPU time for each of these, all processes, µs", LESS, spent)
    rates = {"": ("throughput_per_s",)}
    draw(results, folder / "throughput.svg", "speed", "trivial tasks a second, many at once", MORE, rates)
    echo = {"": ("echo_ms", "p50")}
    draw(results, folder / "echo.svg", "speed", "1 MiB there and back, ms", LESS, echo)
    first = {"": ("first_result_ms",)}
    draw(results, folder / "first.svg", "speed", "first result after start, ms", LESS, first)
    cases = {case: (case, "next_result_ms") for case in ("timeout", "drop", "cancel")}
    title = "next result of a full pool after its tasks were stopped, ms"
    draw(results, folder / "stop.svg", "stop", title, LESS, cases)


def draw(results, path, part, title, better, series):
    """A line for each peer: the median as a mark, the lowest and the highest as its ends."""
    names = [name for name in plan.PEERS if results["peers"].get(name, {}).get(part)]
    figure = matplotlib.figure.Figure(figsize=(7.5, 1.1 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    for index, (label, place) in enumerate(series.items()):
        for row, name in enumerate(names):
            values = figures.column(results["peers"][name][part], *place)
            if values:
                mark(axes, row, values, index, label if row == 0 else None, name.startswith("outboard"))
    axes.set_yticks(range(len(names)), [plan.PEERS[name].title.replace("`", "") for name in names])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(f"{better}; the scale is logarithmic", fontsize=9)
    axes.grid(axis="x", which="major", alpha=0.4)
    axes.grid(axis="x", which="minor", alpha=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    if len(series) > 1:
        axes.legend(fontsize=9)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    path.write_text(with_dark_ones(text.getvalue()))


def mark(axes, row, values, index, label, ours):
    middle = median(values)
    ends = [[middle - min(values)], [max(values) - middle]]
    axes.errorbar(
        middle, row, xerr=ends, fmt="os^"[index], color=OURS if ours else OTHERS, capsize=3,
        markersize=7, markerfacecolor=None if index == 0 else "white", label=label,
    )  # fmt: skip


if __name__ == "__main__":
    main()
