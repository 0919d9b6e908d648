"""Compare our speed, as a share of the same work by hand in the same run, with kept ratios.

`make bench-check`, or `python -m benchmarks.suite.check`: see `--help` and benchmarks/README.md.
"""

import argparse
import asyncio
import dataclasses
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.suite import latency, ours_operations
from benchmarks.suite.contender import Contender, Report, Result, Scale, measure
from benchmarks.suite.goals import Figures, ratios_to_limit
from benchmarks.suite.kept import LOAD, Ratios, fallen, keep, kept
from benchmarks.suite.limits import Read, Script
from benchmarks.suite.load import Load, load_of
from benchmarks.suite.ours import Service
from benchmarks.suite.ours_consume import by_class, by_name, inboxes
from benchmarks.suite.ours_publish import relay
from benchmarks.suite.place import Place, place
from benchmarks.suite.versions import code

# What is measured


@asynccontextmanager
async def _drain(place: Place, scale: Scale) -> AsyncIterator[list[Contender]]:
    yield [Script(place, scale.bulk * 10), relay(place, scale.bulk)]


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
        Scale(rounds=11, latency=200, latency_rounds=11),
    ),
    "inbox": Part(
        ["inbox", "inbox, batches"], _inbox, Scale(rounds=9, inbox=4_000, backlog=20_000)
    ),
}


def _quiet(_: str) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class Check:
    """The ratios of a run, and the rounds behind the ratios."""

    ratios: Ratios
    results: Sequence[Result]

    @property
    def load(self) -> float | None:
        """The share of a core that other programs used."""
        return load_of(self.results)

    @property
    def failures(self) -> list[str]:
        return [f"{result.key}: {result.failed}" for result in self.results if result.failed]


async def measured(
    place: Place,
    parts: Sequence[str] = (),
    rounds: int | None = None,
    report: Report = _quiet,
) -> Check:
    """Measure the kept ratios, or the ratios of some parts."""
    results: list[Result] = []
    names: list[str] = []
    for key in parts or PARTS:
        part = PARTS[key]
        scale = part.scale
        if rounds is not None:
            scale = dataclasses.replace(scale, rounds=rounds, latency_rounds=rounds)
        async with part.contenders(place, scale) as contenders:
            turns = [Load(key), *contenders]
            results += await measure(key, turns, scale.rounds, report)
        names += part.ratios
    values = ratios_to_limit(Figures(results))
    return Check({name: values[name] for name in names}, results)


def run(
    where: Place,
    parts: Sequence[str] = (),
    rounds: int | None = None,
    report: Report = _quiet,
) -> Check:
    """Measure in an event loop of `edgy-bus worker`'s kind."""
    logging.getLogger("databases").setLevel(logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measured(where, parts, rounds, report))


# The program


def show(check: Check, before: Mapping[str, float], console: Console) -> None:
    table = Table("ratio to the same work by hand", "now", "kept", "change")
    for name, value in check.ratios.items():
        was = before.get(name)
        table.add_row(name, _text(value), _text(was), change(was, value))
    console.print(table)
    for failure in check.failures:
        console.print(failure, highlight=False)
    if check.load is not None:
        console.print(f"other programs used {check.load:.2f} of a core", highlight=False)
    if check.load is None or check.load > LOAD:
        console.print("mistrust these ratios: the machine is not known to be idle")


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
    circumstances = dataclasses.asdict(code())
    with place(asked.redis, asked.postgres) as where, Console(stderr=True).status("") as status:
        check = run(where, parts, asked.rounds, status.update)
    if asked.json:
        sys.stdout.write(_json(check, circumstances))
        return 0
    return _compare(check, circumstances, raising=asked.keep)


def _json(check: Check, circumstances: Mapping[str, Any]) -> str:
    rounds = {result.key: result.rounds for result in check.results}
    answer = {**circumstances, "load": check.load, "ratios": check.ratios, "rounds": rounds}
    return json.dumps(answer) + "\n"


def _compare(check: Check, circumstances: Mapping[str, Any], *, raising: bool) -> int:
    """Print the ratios beside the kept ratios. Returns the exit status."""
    console = Console()
    before = kept()
    show(check, before, console)
    messages = fallen({name: before[name] for name in check.ratios if name in before}, check.ratios)
    if raising:
        try:
            risen = keep(check.ratios, check.load, circumstances)
        except ValueError as error:
            messages.append(str(error))
        else:
            console.print(f"kept: {', '.join(risen) or 'no ratio has risen'}", highlight=False)
    for message in messages:
        console.print(message, highlight=False)
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
