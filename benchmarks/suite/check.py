"""Compare our speed, as a share of the same work by hand in the same run, with kept ratios.

`make bench-check`, or `python -m benchmarks.suite.check`: see `--help` and benchmarks/README.md.
"""

import argparse
import asyncio
import dataclasses
import datetime as dt
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.suite import latency, ours_operations
from benchmarks.suite.contender import Contender, Report, Result, Scale, measure
from benchmarks.suite.goals import RATIOS, Figures, ratios_to_limit
from benchmarks.suite.limits import Read, Script
from benchmarks.suite.ours import Service
from benchmarks.suite.ours_consume import by_class, by_name, inboxes
from benchmarks.suite.ours_publish import relay
from benchmarks.suite.place import Place, place
from benchmarks.suite.versions import code

KEPT = Path(__file__).parents[1] / "ratios.json"
ALLOWED_FALL = 0.2
"""The share of a kept ratio by which the ratio may fall."""

Ratios = Mapping[str, float | None]
"""Name to ratio; None if a contender failed."""


# What is measured


@asynccontextmanager
async def _drain(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    yield [Script(place, scale.bulk * 5), relay(place, scale.bulk)]


@asynccontextmanager
async def _consume(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    async with Service(place, "check") as service:
        await service.backlog(scale.backlog)
        read = Read(place, scale.backlog, 500)
        yield [read, by_name(service, scale.backlog), by_class(service, scale.backlog)]


@asynccontextmanager
async def _inbox(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    async with Service(place, "check") as service:
        # Without copies: an inbox takes the sequence of a copied event only once.
        await service.backlog(scale.backlog, base=scale.backlog)
        yield inboxes(service, scale.inbox)


@dataclass(frozen=True)
class Part:
    """Measure the contenders of some ratios in turn."""

    ratios: Sequence[str]
    contenders: Callable[[Place, Scale], AbstractAsyncContextManager[list[Contender]]]
    scale: Scale


# The rounds are as many and as long as keeps the spread of each ratio well below `ALLOWED_FALL`.
PARTS = {
    "drain": Part(["drain"], _drain, Scale(rounds=15, bulk=10_000)),
    "consume": Part(
        ["consume by name", "consume by class"], _consume, Scale(rounds=11, backlog=40_000)
    ),
    "operations": Part(
        ["create", "update", "bulk_create"],
        ours_operations.kept,
        Scale(rounds=31, operations=300, bulk_calls=6),
    ),
    "latency": Part(
        ["commit to receiver, p50"],
        latency.contenders,
        Scale(rounds=7, latency=400, latency_rounds=7),
    ),
    "inbox": Part(
        ["inbox", "inbox, batches"], _inbox, Scale(rounds=9, inbox=4_000, backlog=20_000)
    ),
}


def _quiet(_: str) -> None:
    """Report no progress."""


async def ratios(
    place: Place,
    parts: Sequence[str] = (),
    rounds: int | None = None,
    report: Report = _quiet,
) -> tuple[dict[str, float | None], list[Result]]:
    """Measure the kept ratios, or the ratios of some parts."""
    results: list[Result] = []
    names: list[str] = []
    for key in parts or PARTS:
        part = PARTS[key]
        scale = part.scale
        if rounds is not None:
            scale = dataclasses.replace(scale, rounds=rounds, latency_rounds=rounds)
        async with part.contenders(place, scale) as contenders:
            results += await measure(key, contenders, scale.rounds, report)
        names += part.ratios
    measured = ratios_to_limit(Figures(results))
    return {name: measured[name] for name in names}, results


def run(
    where: Place,
    parts: Sequence[str] = (),
    rounds: int | None = None,
    report: Report = _quiet,
) -> tuple[dict[str, float | None], list[Result]]:
    """Measure in an event loop of `edgy-bus worker`'s kind."""
    logging.getLogger("databases").setLevel(logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(ratios(where, parts, rounds, report))


# What is kept


def kept() -> dict[str, float]:
    return {name: record["value"] for name, record in _records().items()}


def _records() -> dict[str, dict[str, Any]]:
    if not KEPT.exists():
        return {}
    records: dict[str, dict[str, Any]] = json.loads(KEPT.read_text("utf-8"))["ratios"]
    return records


def keep(measured: Ratios, circumstances: Mapping[str, Any], when: str) -> list[str]:
    """Keep new and risen ratios for later runs. Returns their names.

    A kept ratio is never lowered. Raises `ValueError` and keeps nothing if a ratio is missing.
    """
    if missing := [name for name, value in measured.items() if value is None]:
        raise ValueError(f"{missing[0]!r} was not measured, so nothing is kept")
    records = _records()
    before = {name: record["value"] for name, record in records.items()}
    about = {"when": when, **{key: circumstances[key] for key in ("commit", "processor")}}
    values = {name: round(value, 4) for name, value in measured.items() if value is not None}
    risen = {name: value for name, value in values.items() if value > before.get(name, 0.0)}
    for name, value in risen.items():
        records[name] = {"value": value, **about}
    order = [ratio.name for ratio in RATIOS if ratio.name in records]
    text = json.dumps({"ratios": {name: records[name] for name in order}}, indent=1)
    KEPT.write_text(text + "\n", "utf-8")
    return list(risen)


def fallen(kept_ratios: Mapping[str, float], measured: Ratios) -> list[str]:
    """Return a message for each ratio that fell too far, or was not measured."""
    messages = []
    for name, before in kept_ratios.items():
        now = measured.get(name)
        if now is None:
            messages.append(f"{name}: was not measured")
        elif now < before * (1 - ALLOWED_FALL):
            messages.append(f"{name}: {now:.4f} of the speed by hand, was {before:.4f}")
    return messages


# The program


def show(measured: Ratios, kept_ratios: Mapping[str, float], console: Console) -> None:
    table = Table("ratio to the same work by hand", "now", "kept", "change")
    for name, value in measured.items():
        before = kept_ratios.get(name)
        table.add_row(name, _text(value), _text(before), change(before, value))
    console.print(table)


def change(before: float | None, now: float | None) -> str:
    if not before or now is None:
        return ""
    return f"{now / before - 1:+.1%}"


def _text(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-check ARGS=…", description=__doc__)
    parts = ",".join(PARTS)
    parser.add_argument("--only", default="", help=f"some of {parts}; otherwise all parts")
    parser.add_argument("--rounds", type=int, help="rounds of every contender")
    parser.add_argument(
        "--keep", action="store_true", help="keep new and risen ratios; a ratio is never lowered"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON, compare nothing")
    parser.add_argument("--redis", help="URL, otherwise as for make bench")
    parser.add_argument("--postgres", help="URL, otherwise as for make bench")
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    parts = [name for name in asked.only.split(",") if name]
    if unknown := [name for name in parts if name not in PARTS]:
        sys.stderr.write(f"there is no part {unknown[0]!r}: there are {', '.join(PARTS)}\n")
        return 2
    console = Console(stderr=asked.json)
    circumstances = dataclasses.asdict(code())
    with place(asked.redis, asked.postgres) as where, console.status("") as status:
        measured, results = run(where, parts, asked.rounds, status.update)
    for result in results:
        if result.failed:
            console.print(f"{result.key}: {result.failed}", highlight=False)
    if asked.json:
        rounds = {result.key: result.rounds for result in results}
        sys.stdout.write(json.dumps({**circumstances, "ratios": measured, "rounds": rounds}) + "\n")
        return 0
    show(measured, before := kept(), console)
    if asked.keep:
        risen = keep(measured, circumstances, f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M}")
        console.print(f"kept: {', '.join(risen) or 'no ratio has risen'}", highlight=False)
    messages = fallen({name: before[name] for name in measured if name in before}, measured)
    for message in messages:
        console.print(message, highlight=False)
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
