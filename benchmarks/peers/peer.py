"""Shared parts of the peer scripts: the event, the arguments, and the line of JSON.

A script runs in a virtual environment of its own, so this file needs nothing but Python. A script
has up to four modes: `publish` (an await for each event), `batch` (the peer's own way of sending
many events), `consume` (a handler that only counts, in a process, on a queue that was filled
before), `consume_batch` (a handler that takes many events). A rate is events by second. The rate of
`consume` is taken from the first call of the handler to the last: starting the worker does not
count.

The files are not called like the packages: a script's folder comes first on its path.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NoReturn

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
    """The arguments of the script."""

    mode: str
    count: int
    redis: str
    name: str
    """Part of every key that the peer writes: the suite removes these keys."""


def task() -> Task:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("publish", "batch", "consume", "consume_batch"))
    parser.add_argument("--count", type=int, default=5_000)
    parser.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    parser.add_argument("--name", default="bench-peer")
    return Task(**vars(parser.parse_args()))


def events(count: int) -> list[dict[str, Any]]:
    return [event(number) for number in range(count)]


class Counter:
    """Count the calls of a handler, and time the first and the last of `count` events."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.seen = 0
        self.first = self.last = 0.0

    def __call__(self) -> bool:
        """Count a call. Returns whether the call was the last."""
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


def watch(counter: Counter, silence: float = 30.0) -> None:
    """End this process as failed if its worker handles nothing for `silence` seconds.

    Also after the last event: a worker that does not end has failed, too. In a thread, and at once,
    because a worker that hangs may block the event loop or swallow its cancellation.
    """

    def look() -> None:
        seen = -1
        while counter.seen != seen:
            seen = counter.seen
            time.sleep(silence)
        sys.stderr.write(f"no event for {silence:g} s, after {seen} of {counter.count}\n")
        sys.stderr.flush()
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


async def all_handled(counter: Counter) -> None:
    """Wait for a worker of this process. The look at its counter costs next to nothing."""
    watch(counter)
    # No asyncio.Event: setting it would cost the handler time.
    while counter.seen < counter.count:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def timed(work: Callable[[], Awaitable[Any]], count: int) -> float:
    gc.collect()
    start = time.perf_counter()
    await work()
    return count / (time.perf_counter() - start)


def say(rate: float, *packages: str) -> None:
    """Print the line that the suite reads."""
    sys.stdout.write(
        json.dumps({"rate": rate, "versions": {name: version(name) for name in packages}}) + "\n"
    )


def leave(*running: object) -> NoReturn:
    """End the process at once; `running` is what its end would wait for."""
    del running
    sys.stdout.flush()
    os._exit(0)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where the peer installs or recommends uvloop."""
    try:
        import uvloop  # noqa: PLC0415 - not every environment has it
    except ImportError:
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
