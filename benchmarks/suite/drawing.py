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

_OURS, _OTHERS, _LIMIT = "#2f6f9f", "#e0a458", "#9aa0a6"
_SHORT = {
    "a handler that does nothing, one process": "consume",
    "a handler of batches that does nothing, one process": "consume, batches",
}


def draw(results: Sequence[Result], caption: str, folder: Path) -> None:
    """Four panels: publish, consume, what an operation costs, how it grows."""
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
    kinds = (("ours", _OURS), ("others", _OTHERS), ("by hand, without promises", _LIMIT))
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


def _chosen(results: Sequence[Result], what: str) -> list[Result]:
    ends = {"publish": ("-publish", "-batch"), "consume": ("-consume", "-consume_batch")}[what]
    limits = {
        "publish": ("limits.redis-benchmark", "limits.script", "limits.pipeline", "limits.single"),
        "consume": ("limits.read-100", "limits.read-500"),
    }[what]
    return [
        one
        for one in results
        if not one.failed
        and one.rounds.get("rate")
        and (
            one.key in limits
            or one.section == what
            or (one.section == "peers" and one.key.endswith(ends))
        )
    ]


def _operations(results: Sequence[Result]) -> list[Result]:
    return [
        one
        for one in results
        if one.section == "operations"
        and not one.failed
        and (one.key.endswith("postgresql") or one.key == "operations.edgy")
    ]


def _bars(
    axes: Any, title: str, rows: Sequence[Result], metric: str = "rate", *, logarithmic: bool = True
) -> None:
    axes.set_title(title, loc="left", fontweight="bold")
    if not rows:
        axes.set_axis_off()
        return
    rows = sorted(rows, key=lambda one: one.median(metric) or 0, reverse=metric == "us")
    values = [one.median(metric) or 0 for one in rows]
    low = [value - min(one.rounds[metric]) for one, value in zip(rows, values, strict=True)]
    high = [max(one.rounds[metric]) - value for one, value in zip(rows, values, strict=True)]
    colours = [_colour(one) for one in rows]
    places = range(len(rows))
    axes.barh(
        places,
        values,
        xerr=(low, high),
        color=colours,
        error_kw={"elinewidth": 0.8, "ecolor": "#444444"},
    )
    axes.set_yticks(list(places), [_label(one) for one in rows])
    for place, (value, above) in enumerate(zip(values, high, strict=True)):
        axes.annotate(
            f"{value:,.0f}",
            (value + above, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    if logarithmic:
        axes.set_xscale("log")
    axes.margins(x=0.15)


def _colour(one: Result) -> str:
    if one.section == "limits" or "-raw-" in one.key:
        return _LIMIT
    if one.section == "peers" or "-databases-" in one.key or one.key == "operations.edgy":
        return _OTHERS
    return _OURS


def _label(one: Result) -> str:
    label = one.label.replace("insert, postgresql: ", "insert: ").replace(
        "update, postgresql: ", "update: "
    )
    for long, short in _SHORT.items():
        label = label.replace(long, short)
    return "\n".join(textwrap.wrap(label, 46))


def _lines(axes: Any, results: Sequence[Result]) -> None:
    """Each series as a share of its first figure: a flat line costs nothing."""
    axes.set_title("How it grows: rate, as a multiple of the first", loc="left", fontweight="bold")
    series = {
        "growth.backlog-": "events waiting",
        "growth.partitions-": "partitions",
        "growth.models-": "models",
        "growth.groups-": "groups (all calls)",
        "processes.": "processes, receivers that wait 5 ms",
    }
    for beginning, label in series.items():
        points = sorted(
            (int(one.key.removeprefix(beginning)), median)
            for one in results
            if one.key.startswith(beginning)
            and not one.failed
            and (median := one.median()) is not None
        )
        if len(points) > 1:
            axes.plot(
                [x for x, _ in points],
                [y / points[0][1] for _, y in points],
                marker="o",
                label=label,
            )
    axes.set_xscale("log")
    axes.set_yscale("log", base=2)
    axes.set_yticks([0.25, 0.5, 1, 2, 4, 8], ["¼", "½", "1", "2", "4", "8"])
    axes.grid(visible=True, color="#e5e5e5")
    if axes.get_lines():
        axes.legend(frameon=False)
