"""`python -m benchmarks.suite`: see `--help` and benchmarks/README.md."""

import argparse
import asyncio
import dataclasses
import datetime as dt
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from benchmarks.suite import (
    check,
    growth,
    latency,
    limits,
    ours_consume,
    ours_operations,
    ours_publish,
    ours_sessions,
    peers,
    report,
)
from benchmarks.suite.contender import QUICK, Contender, Report, Result, Scale, measure
from benchmarks.suite.kept import keep
from benchmarks.suite.place import ROOT, Place, place
from benchmarks.suite.versions import code

Section = Callable[[Place, Scale], AbstractAsyncContextManager[list[Contender]]]

SECTIONS: dict[str, Section] = {
    "limits": limits.contenders,
    "peers": peers.contenders,
    "publish": ours_publish.contenders,
    "consume": ours_consume.contenders,
    "operations": ours_operations.contenders,
    "sessions": ours_sessions.contenders,
    "latency": latency.contenders,
    "processes": growth.processes,
    "growth": growth.contenders,
    "tuning": growth.tuning,
}
_PAGE = ROOT / "docs" / "performance.md"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument(
        "--only",
        default="",
        help=f"some of {','.join(SECTIONS)}, with commas between; all of them otherwise",
    )
    parser.add_argument(
        "--rounds", type=int, help="rounds of every contender; five otherwise, three with --quick"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few minutes instead of many: figures to develop with",
    )
    parser.add_argument(
        "--redis", help="URL; otherwise EDGY_BUS_REDIS_URL, localhost, or a server of the run's own"
    )
    parser.add_argument(
        "--postgres",
        help="URL; otherwise EDGY_BUS_POSTGRES_URL, localhost, or a server of the run's own",
    )
    parser.add_argument(
        "--docs", action="store_true", help="write the table and the plot of this run into docs/"
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="also run make bench-check and keep new and risen ratios in ratios.json",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=ROOT / "benchmarks" / "results",
        help="folder for JSON and plot",
    )
    return parser.parse_args()


async def sections(names: list[str], where: Place, scale: Scale, console: Console) -> list[Result]:
    """Run the sections, one after another. A section that cannot be prepared is a failed result."""
    results: list[Result] = []
    for name in names:
        start = time.perf_counter()
        with console.status(name) as status:
            try:
                results += await _section(name, where, scale, status.update)
            except Exception as error:  # noqa: BLE001 - the remaining sections are still of use
                reason = f"{type(error).__name__}: {error}"[:300]
                results.append(Result(name, f"{name}.all", "the whole section", failed=reason))
        console.print(f"{name}: {time.perf_counter() - start:.0f} s", highlight=False)
    return results


async def _section(name: str, where: Place, scale: Scale, progress: Report) -> list[Result]:
    async with SECTIONS[name](where, scale) as contenders:
        results = await measure(name, contenders, scale.rounds, progress)
        for contender, result in zip(contenders, results, strict=True):
            result.notes = dict(getattr(contender, "versions", {}))
    return results


def main() -> int:
    asked = arguments()
    names = [name for name in asked.only.split(",") if name] or list(SECTIONS)
    if unknown := [name for name in names if name not in SECTIONS]:
        sys.stderr.write(f"there is no section {unknown[0]!r}: there are {', '.join(SECTIONS)}\n")
        return 2
    scale = QUICK if asked.quick else Scale()
    if asked.rounds:
        scale = dataclasses.replace(scale, rounds=asked.rounds)
    logging.getLogger("databases").setLevel(logging.WARNING)
    # As Ctrl-C, SIGTERM removes the keys and the schemas of the run.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    load, measured = os.getloadavg(), code()
    with place(asked.redis, asked.postgres) as where:
        console.print(f"{where.redis.origin}; {where.postgres.origin}")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            results = runner.run(sections(names, where, scale, console))
        checked = check.run(where) if asked.keep else None
        about = report.circumstances(where, scale, load, measured)
    when = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M}"
    report.show(results, about, console)
    folder = report.save(asked.results, results, about, when)
    drawn = report.plot(results, about, when, folder)
    console.print(f"written to {folder}")
    if asked.docs:
        _document(report.markdown(results, about, when), folder if drawn else None)
    if checked is not None:
        return _keep(checked, about)
    return 0


def _keep(checked: check.Check, about: Mapping[str, Any]) -> int:
    try:
        keep(checked.ratios, checked.load, about)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _document(figures: str, plotted: Path | None) -> None:
    """Write the figures and the plot of a run into the documentation."""
    _PAGE.write_text(report.between(_PAGE.read_text("utf-8"), "figures", figures), "utf-8")
    if plotted is not None:
        shutil.copy(plotted / "performance.svg", _PAGE.with_suffix(".svg"))


if __name__ == "__main__":
    sys.exit(main())
