"""The plot of a run."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
from matplotlib.patches import Patch

from benchmarks.suite.contender import Result

_OURS, _PEERS, _LIMIT = "#2f6f9f", "#e0a458", "#9aa0a6"
_SHORT = {
    "a handler that does nothing, one process": "consume",
    "a handler of batches that does nothing, one process": "consume, batches",
}


def draw(results: Sequence[Result], caption: str, folder: Path) -> None:
    """Draw four panels: publishing, consuming, the cost of an operation, growth."""
    mpl.rcParams.update(
        {
            "font.size": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "svg.hashsalt": "edgy_bus",
            "svg.fonttype": "none",
        }
    )
    figure, axes = plt.subplots(2, 2, figsize=(13, 11))
    _bars(axes[0][0], "Publish, events/s", _chosen(results, "publish"))
    _bars(axes[0][1], "Consume in one process, events/s", _chosen(results, "consume"))
    _bars(
        axes[1][0],
        "One operation on PostgreSQL, µs (less is better)",
        _operations(results),
        metric="us",
        logarithmic=False,
    )
    _lines(axes[1][1], results)
    figure.text(0.01, 0.005, caption, fontsize=7, color="#555555")
    kinds = (("ours", _OURS), ("peers", _PEERS), ("by hand, without promises", _LIMIT))
    patches = [Patch(color=colour, label=label) for label, colour in kinds]
    figure.legend(handles=patches, loc="upper center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0.02, 1, 0.97))
    for kind in ("svg", "png"):
        figure.savefig(
            folder / f"performance.{kind}",
            dpi=130,
            metadata={"Date": None} if kind == "svg" else None,
        )
    plt.close(figure)


_LIMITS = {
    "publish": ("limits.redis-benchmark", "limits.script", "limits.pipeline", "limits.single"),
    "consume": ("limits.read-100", "limits.read-500"),
}
_ENDS = {"publish": ("-publish", "-batch"), "consume": ("-consume", "-consume_batch")}


def _chosen(results: Sequence[Result], panel: str) -> list[Result]:
    return [
        result
        for result in results
        if not result.failed and result.rounds.get("rate") and _belongs(result, panel)
    ]


def _belongs(result: Result, panel: str) -> bool:
    if result.section == "peers":
        return result.key.endswith(_ENDS[panel])
    return result.section == panel or result.key in _LIMITS[panel]


def _operations(results: Sequence[Result]) -> list[Result]:
    return [
        result
        for result in results
        if result.section == "operations"
        and not result.failed
        and (result.key.endswith("postgresql") or result.key == "operations.edgy")
    ]


def _bars(
    axes: Any, title: str, rows: Sequence[Result], metric: str = "rate", *, logarithmic: bool = True
) -> None:
    axes.set_title(title, loc="left", fontweight="bold")
    if not rows:
        axes.set_axis_off()
        return
    rows = sorted(rows, key=lambda row: _median(row, metric), reverse=metric == "us")
    medians = [_median(row, metric) for row in rows]
    below = [_median(row, metric) - min(row.rounds[metric]) for row in rows]
    above = [max(row.rounds[metric]) - _median(row, metric) for row in rows]
    axes.barh(
        range(len(rows)),
        medians,
        xerr=(below, above),
        color=[_colour(row) for row in rows],
        error_kw={"elinewidth": 0.8, "ecolor": "#444444"},
    )
    axes.set_yticks(list(range(len(rows))), [_label(row) for row in rows])
    for height, (median, error) in enumerate(zip(medians, above, strict=True)):
        axes.annotate(
            f"{median:,.0f}",
            (median + error, height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    if logarithmic:
        axes.set_xscale("log")
    axes.margins(x=0.15)


def _median(result: Result, metric: str) -> float:
    return result.median(metric) or 0.0


def _colour(result: Result) -> str:
    if result.section == "limits" or "-raw-" in result.key or "by-hand" in result.key:
        return _LIMIT
    peer = result.key == "operations.edgy" or "-databases-" in result.key
    return _PEERS if peer or result.section == "peers" else _OURS


def _label(result: Result) -> str:
    label = result.label.replace(", postgresql: ", ": ")
    for long, short in _SHORT.items():
        label = label.replace(long, short)
    return "\n".join(textwrap.wrap(label, 46))


_SERIES = {
    "growth.backlog-": "events waiting",
    "growth.partitions-": "partitions",
    "growth.models-": "models",
    "growth.groups-": "groups (all calls)",
    "processes.": "processes, receivers that wait 5 ms",
}


def _lines(axes: Any, results: Sequence[Result]) -> None:
    """Draw each series as multiples of its first figure: a flat line costs nothing."""
    axes.set_title("How it grows: rate, as a multiple of the first", loc="left", fontweight="bold")
    for beginning, label in _SERIES.items():
        points = _points(results, beginning)
        if len(points) > 1:
            sizes, rates = zip(*points, strict=True)
            axes.plot(sizes, [rate / rates[0] for rate in rates], marker="o", label=label)
    axes.set_xscale("log")
    axes.set_yscale("log", base=2)
    axes.set_yticks([0.25, 0.5, 1, 2, 4, 8], ["¼", "½", "1", "2", "4", "8"])
    axes.grid(visible=True, color="#e5e5e5")
    if axes.get_lines():
        axes.legend(frameon=False)


def _points(results: Sequence[Result], beginning: str) -> list[tuple[int, float]]:
    """Return size and rate of each result of a series, by size."""
    series = [
        result for result in results if result.key.startswith(beginning) and not result.failed
    ]
    points = [(int(result.key.removeprefix(beginning)), result.median()) for result in series]
    return sorted((size, rate) for size, rate in points if rate is not None)
