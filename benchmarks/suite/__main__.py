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
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

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
    peers,
    report,
)
from benchmarks.suite.contender import QUICK, Contender, Result, Scale, measure
from benchmarks.suite.place import ROOT, Place, place

Section = Callable[[Place, Scale], AbstractAsyncContextManager[list[Contender]]]

SECTIONS: dict[str, Section] = {
    "limits": limits.contenders,
    "peers": peers.contenders,
    "publish": ours_publish.contenders,
    "consume": ours_consume.contenders,
    "operations": ours_operations.contenders,
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
        help="also measure what make bench-check does, into ratios.json",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=ROOT / "benchmarks" / "results",
        help="folder for JSON and plot",
    )
    return parser.parse_args()


async def sections(names: list[str], where: Place, scale: Scale, console: Console) -> list[Result]:
    """Every section by itself, one after another; one that cannot be prepared is told as such."""
    found: list[Result] = []
    for name in names:
        start = time.perf_counter()
        with console.status(name) as status:
            try:
                async with SECTIONS[name](where, scale) as contenders:
                    results = await measure(name, contenders, scale.rounds, status.update)
                    for one, result in zip(contenders, results, strict=True):
                        result.notes = dict(getattr(one, "versions", {}))
            except Exception as error:  # noqa: BLE001 - the other sections are still of use
                results = [
                    Result(
                        name,
                        f"{name}.all",
                        "the whole section",
                        failed=f"{type(error).__name__}: {error}"[:300],
                    )
                ]
        found += results
        console.print(f"{name}: {time.perf_counter() - start:.0f} s", highlight=False)
    return found


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
    console = Console()
    load, code = os.getloadavg(), report.commit()
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # as Ctrl-C: what the run made is removed
    with (
        place(asked.redis, asked.postgres) as where,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        console.print(f"{where.redis.origin}; {where.postgres.origin}")
        results = runner.run(sections(names, where, scale, console))
        kept = runner.run(check.ratios(where))[0] if asked.keep else None
        told = report.circumstances(where, scale, load, code)
    when = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M}"
    report.show(results, told, console)
    folder = report.save(asked.results, results, told, when)
    drawn = report.plot(results, told, when, folder)
    console.print(f"written to {folder}")
    if kept is not None:
        check.keep(kept, told, when)
    if asked.docs:
        page = report.between(
            _PAGE.read_text("utf-8"), "figures", report.markdown(results, told, when)
        )
        _PAGE.write_text(page, "utf-8")
        if drawn:
            shutil.copy(folder / "performance.svg", _PAGE.with_suffix(".svg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
