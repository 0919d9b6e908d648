"""What tests of several packages share."""

import asyncio
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

from edgy_bus import telemetry
from edgy_bus.brokers.base import (
    EVERY_LETTER,
    START,
    Broker,
    DeadLetter,
    LetterLimits,
    RowKey,
    StreamHead,
)
from edgy_bus.codec import pack
from edgy_bus.events import Event, Partition, new_event_id, now

PARTITION = Partition("accounts.User", "0")
PATIENCE = 20.0


_SNIPPET = re.compile(r"(?:^<!-- run (.*?) -->\n)?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Snippet(NamedTuple):
    """A block of Python of a page, behind empty lines that keep its line numbers."""

    code: str
    condition: str
    """What the comment before the block says about running it; empty without a comment."""


def snippets(page: Path) -> Iterator[Snippet]:
    """Yield the blocks of Python of a page, in their order."""
    text = page.read_text("utf-8")
    for match in _SNIPPET.finditer(text):
        line = text[: match.start(2)].count("\n")
        yield Snippet("\n" * line + match[2], match[1] or "")


def block(seconds: float) -> None:
    """Block the event loop, as a receiver does that calls a library without `await`."""
    time.sleep(seconds)


def lacks(what: str) -> NoReturn:
    """Skip a test for want of `what`; fail it in CI, which has everything that the tests need."""
    if os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


async def eventually(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Wait until `condition()`, which may return an awaitable, is true; fail the test otherwise."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = condition()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return
        assert time.monotonic() < deadline, f"{what} did not come true within {PATIENCE:g} s"
        await asyncio.sleep(0.01)


def event(
    subject: str | None, sequence: int | None, signal: str = "post_save", **data: Any
) -> Event:
    return Event(
        id=new_event_id(),
        source="accounts",
        model="accounts.User",
        signal=signal,
        subject=subject,
        time=now(),
        data={"instance": {"id": subject, "n": sequence}, **data},
        sequence=sequence,
    )


async def publish(broker: Broker, *events: Event, partition: Partition = PARTITION) -> None:
    """Append to a stream, wherever it stands."""
    await broker.declare(partition.model, 1)
    state = await broker.inspect(partition, StreamHead(), "epoch")
    assert await broker.publish(partition, state.head, [pack(one) for one in events]) is not None


async def hold(
    broker: Broker,
    subject: str,
    *,
    partition: Partition = PARTITION,
    group: str = "mail",
    receiver: str = "app.mail",
    reason: str = "no such user",
) -> None:
    """Publish an event of a row, and park it as a worker does whose receiver holds the row."""
    await publish(broker, event(subject, 1), partition=partition)
    lease = await broker.acquire(partition, group, "worker", 60)
    assert lease is not None
    entries = (await broker.fetch(lease, 100, inherit=False)).entries
    newest = entries[-1]
    letter = DeadLetter(newest.id, receiver, reason, 1, newest.fields)
    row = RowKey(receiver, subject)
    await broker.park(lease, row, letter, begin=True, after=START)
    await broker.settle(lease, [entry.id for entry in entries], [letter.kept])
    await broker.release(lease)


async def bury(
    broker: Broker,
    *events: Event,
    partition: Partition = PARTITION,
    group: str = "mail",
    receiver: str = "app.mail",
    reason: str = "no such user",
    limits: LetterLimits = EVERY_LETTER,
) -> None:
    """Publish events, and give them up as a worker does."""
    await publish(broker, *events, partition=partition)
    lease = await broker.acquire(partition, group, "worker", 60)
    assert lease is not None
    for entry in (await broker.fetch(lease, 1000, inherit=False)).entries:
        letter = DeadLetter(entry.id, receiver, reason, 1, entry.fields)
        await broker.bury(lease, letter, (), limits)
        await broker.settle(lease, [entry.id], [letter.kept])
    await broker.release(lease)


class Told:
    """What the library told about itself while this is open."""

    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []

    def __enter__(self) -> "Told":
        self._stop = telemetry.listen(
            lambda notice: self.all.append((notice.name, notice.values()))
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def names(self) -> list[str]:
        return [name for name, _ in self.all]

    def of(self, name: str) -> list[dict[str, Any]]:
        return [fields for told, fields in self.all if told == name]
