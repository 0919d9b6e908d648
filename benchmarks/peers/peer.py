"""What all peer scripts share: the event, the arguments, and the one line of JSON that a script prints.

A script runs in a virtual environment of its own, so this file needs nothing but Python. Each script has up to four answers:
`publish` (one event, one await), `batch` (the peer's own form of sending many), `consume` (a handler that does nothing but count,
in one process, on a queue that was filled before), `consume_batch` (a handler that is given many). A rate is events by seconds; that of `consume` is taken from the first call of
the handler to the last, so that starting the worker does not count.

The files are not called like the packages: a script's folder comes first on its path.
"""

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

SIZE = 300
BATCH = 500


def event(number: int) -> dict[str, Any]:
    """A row of the benchmark's model: `SIZE` bytes of compact JSON."""
    row = {
        "id": 10_000_000 + number,
        "name": f"user {number:08d}",
        "email": f"user{number:08d}@example.org",
        "is_verified": False,
        "about": "",
    }
    row["about"] = "x" * (SIZE - len(json.dumps(row, separators=(",", ":"))))
    return row


@dataclass
class Task:
    """What the script was asked for."""

    what: str
    count: int
    redis: str
    name: str
    """Part of every key that the peer writes: the suite removes what holds it."""


def task() -> Task:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("publish", "batch", "consume", "consume_batch"))
    parser.add_argument("--count", type=int, default=5_000)
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--name", default="bench-peer")
    return Task(**vars(parser.parse_args()))


def events(count: int) -> list[dict[str, Any]]:
    return [event(number) for number in range(count)]


class Counter:
    """What a handler calls. Knows when the first and the last of `count` events came."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.seen = 0
        self.first = self.last = 0.0

    def __call__(self) -> bool:
        """Whether this was the last one."""
        if not self.seen:
            self.first = time.perf_counter()
        self.seen += 1
        if self.seen == self.count:
            self.last = time.perf_counter()
        return self.seen >= self.count

    @property
    def rate(self) -> float:
        if self.seen < self.count:
            raise SystemExit(f"only {self.seen} of {self.count} events were handled")
        return (self.count - 1) / (self.last - self.first)


async def until(condition: Callable[[], bool], within: float = 120.0) -> None:
    """Wait for a worker that runs beside us; it counts, and looking costs it next to nothing."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not done after {within:g} s")
        await asyncio.sleep(0.02)


async def timed(work: Callable[[], Awaitable[Any]], count: int) -> float:
    gc.collect()
    start = time.perf_counter()
    await work()
    return count / (time.perf_counter() - start)


def say(rate: float, *packages: str) -> None:
    """The line that the suite reads."""
    sys.stdout.write(
        json.dumps({"rate": rate, "versions": {name: version(name) for name in packages}}) + "\n"
    )


def run(main: Coroutine[Any, Any, None]) -> None:
    """On uvloop where the peer brings or recommends it."""
    try:
        import uvloop  # noqa: PLC0415 - not every environment has it
    except ImportError:
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
