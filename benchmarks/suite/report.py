"""What a run says: the terminal's tables, JSON, Markdown between marks in `docs/performance.md`, and the plot."""

import dataclasses
import json
import os
import platform
import re
import statistics
import subprocess
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

TITLES = {
    "limits": "Limits: no promises, by hand",
    "peers": "Others",
    "publish": "Ours: publishing",
    "consume": "Ours: one process, a receiver that does nothing",
    "operations": "One operation after another",
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


def circumstances(place: Place, scale: Scale, load: Sequence[float], code: str) -> dict[str, Any]:
    """Where and how a run was made."""
    with redis.Redis.from_url(place.redis.url) as client:
        server = client.info("server")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "redis": f"{server.get('server_name', 'redis')} {server.get('valkey_version', server['redis_version'])}",
        "postgresql": postgres_value(place.postgres.url, "SHOW server_version"),
        "fsync, synchronous_commit": ", ".join(
            str(postgres_value(place.postgres.url, f"SHOW {name}"))
            for name in ("fsync", "synchronous_commit")
        ),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": code,
        "scale": dataclasses.asdict(scale),
        "load_before": [round(one, 2) for one in load],
        "load_after": [round(one, 2) for one in os.getloadavg()],
    }


def _processor() -> str:
    try:
        names = re.findall(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """The code that is measured: asked before the run, during which the files may change."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    )
    return done.stdout.strip()


# Words


def figure(value: float, unit: str) -> str:
    if unit in ("events/s", "µs"):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.1f}"


def _line(result: Result) -> list[str]:
    """What, the medians, least and greatest of the rounds."""
    if result.failed:
        return [result.label, "not measured", result.failed]
    medians, spans = [], []
    for metric, values in result.rounds.items():
        unit = UNITS[metric]
        name = f"{metric} " if metric in ("p50", "p99") else ""
        medians.append(f"{name}{figure(statistics.median(values), unit)} {unit}")
        spans.append(
            f"{figure(min(values), unit)} to {figure(max(values), unit)}"
            if len(values) > 1
            else "one round"
        )
    return [result.label, ", ".join(medians), ", ".join(spans)]


def _word(verdict: Verdict) -> list[str]:
    sign = "≤" if verdict.at_most else "≥"
    wanted = f"{sign} {figure(verdict.wanted, verdict.unit)} {verdict.unit}"
    if verdict.value is None:
        return [verdict.what, "not measured", wanted, ""]
    return [
        verdict.what,
        f"{figure(verdict.value, verdict.unit)} {verdict.unit}",
        wanted,
        "yes" if verdict.met else "**no**",
    ]


def _sections(results: Iterable[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.section, []).append(result)
    return found


_HEADS = ("what", "median", "rounds")
_GOALS = ("goal", "measured", "wanted", "met")


def show(results: Sequence[Result], told: Mapping[str, Any], console: Console) -> None:
    for section, rows in _sections(results).items():
        console.print(_rich(TITLES[section], _HEADS, map(_line, rows)))
    console.print(_rich("Goals, ratios within this run", _GOALS, map(_word, verdicts(results))))
    console.print(
        f"{told['processor']}, {told['cores']} cores, Python {told['python']}, {told['redis']}, PostgreSQL {told['postgresql']}"
    )
    console.print(
        f"load of the machine before and after: {told['load_before'][0]}, {told['load_after'][0]}"
    )


def _rich(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*heads, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(cell.replace("**", "") for cell in row))
    return table


def markdown(results: Sequence[Result], told: Mapping[str, Any], when: str) -> str:
    """The figures of a run, as they stand between the marks of the page."""
    scale = told["scale"]
    parts = [
        f"Run of {when}, commit {told['commit']}: {told['processor']}, {told['cores']} cores, {told['memory_gb']:g} GB, Python {told['python']}, "
        f"{told['redis']}, PostgreSQL {told['postgresql']} (fsync and synchronous_commit: {told['fsync, synchronous_commit']}); "
        f"up to {scale['rounds']} rounds, {scale['bulk']:,} events in each of what works in batches. Load of the machine before the run: {told['load_before'][0]}, after: {told['load_after'][0]}"
        f"{_busy(told)}.",
        _table(_GOALS, map(_word, verdicts(results))),
    ]
    for section, rows in _sections(results).items():
        parts += [f"**{TITLES[section]}**", _table(_HEADS, map(_line, rows))]
    return "\n\n".join(parts)


def _busy(told: Mapping[str, Any]) -> str:
    """The run loads the machine itself, so it is the time before that tells."""
    return (
        ": **others used the machine, so mistrust absolute figures**"
        if told["load_before"][0] > 0.5
        else ""
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(lines)


def between(page: str, mark: str, text: str) -> str:
    """The page with other text between `<!-- mark -->` and `<!-- /mark -->`. Raises `ValueError` for a page without them."""
    found = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    if not found.search(page):
        raise ValueError(f"the page has no <!-- {mark} --> and <!-- /{mark} -->")
    return found.sub(lambda match: f"{match[1]}{text}\n{match[2]}", page)


# Files


def save(folder: Path, results: Sequence[Result], told: Mapping[str, Any], when: str) -> Path:
    """The raw figures, the plot and the Markdown in a new folder below `folder`; its path."""
    own = folder / when.replace(":", "").replace(" ", "T")
    own.mkdir(parents=True)
    raw = {
        "when": when,
        **told,
        "results": [
            {**dataclasses.asdict(one), "medians": {name: one.median(name) for name in one.rounds}}
            for one in results
        ],
        "verdicts": [{**dataclasses.asdict(one), "met": one.met} for one in verdicts(results)],
        "ratios_to_limit": ratios_to_limit(Figures(results)),
    }
    (own / "results.json").write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (own / "results.md").write_text(markdown(results, told, when) + "\n", "utf-8")
    return own


def plot(results: Sequence[Result], told: Mapping[str, Any], when: str, folder: Path) -> bool:
    """`performance.svg` and `.png`; whether matplotlib is there to draw them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from benchmarks.suite import drawing  # noqa: PLC0415 - matplotlib is an extra
    except ImportError:
        sys.stderr.write('no plot: pip install "edgy-bus[bench]" brings matplotlib\n')
        return False
    caption = f"{when}, {told['processor']}, {told['cores']} cores, Python {told['python']}, {told['redis']}, PostgreSQL {told['postgresql']}"
    drawing.draw(results, caption, folder)
    return True
