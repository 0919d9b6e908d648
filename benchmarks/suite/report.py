"""The report of a run: tables, JSON, Markdown between marks in `docs/performance.md`, the plot."""

import dataclasses
import json
import os
import platform
import re
import statistics
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import redis
from rich.console import Console
from rich.table import Table

from benchmarks.suite.contender import UNITS, Result, Scale
from benchmarks.suite.goals import Figures, Verdict, ratios_to_limit, verdicts
from benchmarks.suite.place import Place, postgres_value
from benchmarks.suite.versions import Code

TITLES = {
    "limits": "Limits: by hand, no promises",
    "peers": "Peers",
    "publish": "Ours: publishing",
    "consume": "Ours: one process, a receiver that does nothing",
    "operations": "One operation after another",
    "sessions": "A flush of 100 rows by a session of SQLAlchemy",
    "latency": "From commit to receiver, 200 events/s",
    "processes": "Receivers that wait 5 ms, eight at a time in each process",
    "growth": "How it grows",
    "tuning": "What tuning does",
}
PACKAGES = (
    "redis",
    "hiredis",
    "asyncpg",
    "databases",
    "SQLAlchemy",
    "pydantic",
    "orjson",
    "uvloop",
    "aiosqlite",
)


def circumstances(
    place: Place, scale: Scale, load: Sequence[float], measured: Code
) -> dict[str, Any]:
    """Describe where and how a run was made."""
    return {
        "processor": measured.processor,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "redis": _redis(place),
        "postgresql": postgres_value(place.postgres.url, "SHOW server_version"),
        "fsync, synchronous_commit": ", ".join(
            str(postgres_value(place.postgres.url, f"SHOW {name}"))
            for name in ("fsync", "synchronous_commit")
        ),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": measured.commit,
        "scale": dataclasses.asdict(scale),
        "load_before": [round(value, 2) for value in load],
        "load_after": [round(value, 2) for value in os.getloadavg()],
    }


def _redis(place: Place) -> str:
    with redis.Redis.from_url(place.redis.url) as client:
        server: Any = client.info("server")
    name = server.get("server_name", "redis")
    return f"{name} {server.get('valkey_version', server['redis_version'])}"


# Words


def figure(value: float, unit: str) -> str:
    if unit in ("events/s", "µs"):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.1f}"


def _line(result: Result) -> list[str]:
    """Return the label, the medians, and the least and the greatest round."""
    label = result.label
    if result.retried:
        label += f" (rounds tried again: {len(result.retried)}, {result.retried[0]})"
    if result.failed:
        return [label, "not measured", result.failed]
    medians, spans = [], []
    for metric, values in result.rounds.items():
        unit = UNITS[metric]
        name = f"{metric} " if metric in ("p50", "p99") else ""
        medians.append(f"{name}{figure(statistics.median(values), unit)} {unit}")
        spans.append(_span(values, unit))
    return [label, ", ".join(medians), ", ".join(spans)]


def _span(values: Sequence[float], unit: str) -> str:
    if len(values) == 1:
        return "one round"
    return f"{figure(min(values), unit)} to {figure(max(values), unit)}"


def _goal(verdict: Verdict) -> list[str]:
    sign = "≤" if verdict.at_most else "≥"
    wanted = f"{sign} {figure(verdict.wanted, verdict.unit)} {verdict.unit}"
    if verdict.value is None:
        return [verdict.goal, "not measured", wanted, ""]
    measured = f"{figure(verdict.value, verdict.unit)} {verdict.unit}"
    return [verdict.goal, measured, wanted, "yes" if verdict.met else "**no**"]


def _sections(results: Iterable[Result]) -> dict[str, list[Result]]:
    sections: dict[str, list[Result]] = {}
    for result in results:
        sections.setdefault(result.section, []).append(result)
    return sections


_HEADS = ("what", "median", "rounds")
_GOALS = ("goal", "measured", "wanted", "met")


def show(results: Sequence[Result], about: Mapping[str, Any], console: Console) -> None:
    for section, rows in _sections(results).items():
        console.print(_rich(TITLES[section], _HEADS, map(_line, rows)))
    console.print(_rich("Goals, ratios within this run", _GOALS, map(_goal, verdicts(results))))
    console.print(_machine(about))
    before, after = about["load_before"][0], about["load_after"][0]
    console.print(f"load of the machine before and after: {before}, {after}")


def _machine(about: Mapping[str, Any]) -> str:
    servers = f"{about['redis']}, PostgreSQL {about['postgresql']}"
    return f"{about['processor']}, {about['cores']} cores, Python {about['python']}, {servers}"


def _rich(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*heads, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(cell.replace("**", "") for cell in row))
    return table


def markdown(results: Sequence[Result], about: Mapping[str, Any], when: str) -> str:
    """Return the text between the marks of the page: the figures of a run."""
    parts = [_paragraph(about, when), _table(_GOALS, map(_goal, verdicts(results)))]
    for section, rows in _sections(results).items():
        parts += [f"**{TITLES[section]}**", _table(_HEADS, map(_line, rows))]
    return "\n\n".join(parts)


def _paragraph(about: Mapping[str, Any], when: str) -> str:
    scale = about["scale"]
    durability = about["fsync, synchronous_commit"]
    before, after = about["load_before"][0], about["load_after"][0]
    return (
        f"Run of {when}, commit {about['commit']}: {about['processor']}, {about['cores']} cores, "
        f"{about['memory_gb']:g} GB, Python {about['python']}, {about['redis']}, "
        f"PostgreSQL {about['postgresql']} (fsync and synchronous_commit: {durability}); "
        f"up to {scale['rounds']} rounds, {scale['bulk']:,} events in a round of work in batches. "
        f"Load of the machine before the run: {before}, after: {after}{_busy(before)}."
    )


def _busy(load: float) -> str:
    """Warn of other programs. The run itself loads the machine, so the load before it counts."""
    if load <= 0.5:
        return ""
    return ": **other programs used the machine, so mistrust absolute figures**"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = (heads, ["---"] * len(heads), *rows)
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join(lines)


def between(page: str, mark: str, text: str) -> str:
    """Replace the text between `<!-- mark -->` and `<!-- /mark -->` of a page.

    Raises `ValueError` for a page without the marks.
    """
    marked = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    if not marked.search(page):
        raise ValueError(f"the page has no <!-- {mark} --> and <!-- /{mark} -->")
    return marked.sub(lambda match: f"{match[1]}{text}\n{match[2]}", page)


# Files


def save(folder: Path, results: Sequence[Result], about: Mapping[str, Any], when: str) -> Path:
    """Write the raw figures and the Markdown into a new folder below `folder`; return its path."""
    target = folder / when.replace(":", "").replace(" ", "T")
    target.mkdir(parents=True)
    raw = {
        "when": when,
        **about,
        "results": [
            {**dataclasses.asdict(result), "medians": _medians(result)} for result in results
        ],
        "verdicts": [
            {**dataclasses.asdict(verdict), "met": verdict.met} for verdict in verdicts(results)
        ],
        "ratios_to_limit": ratios_to_limit(Figures(results)),
    }
    text = json.dumps(raw, indent=1, ensure_ascii=False)
    (target / "results.json").write_text(text + "\n", "utf-8")
    (target / "results.md").write_text(markdown(results, about, when) + "\n", "utf-8")
    return target


def _medians(result: Result) -> dict[str, float | None]:
    return {metric: result.median(metric) for metric in result.rounds}


def plot(results: Sequence[Result], about: Mapping[str, Any], when: str, folder: Path) -> bool:
    """Draw `performance.svg` and `.png`. Returns False where matplotlib is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from benchmarks.suite import drawing  # noqa: PLC0415 - matplotlib is an extra
    except ImportError:
        sys.stderr.write('no plot: pip install "edgy-bus[bench]" brings matplotlib\n')
        return False
    drawing.draw(results, f"{when}, {_machine(about)}", folder)
    return True
