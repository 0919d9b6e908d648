"""Write many events page by page, for actions that may take hours: throttled, and with progress.

An action hands over its pages. Here stands when the next page is written: not faster than a rate,
not while events that are written already have to wait, and again where another transaction won.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from edgy_bus.errors import TryAgain
from edgy_bus.portions import Portion

T = TypeVar("T")

_PAUSE = 0.5
"""Seconds between two looks whether there is room, and before a page is repeated."""

LOCKED = "another transaction keeps rows locked"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of an action, so that live events do not wait behind it.

    Attributes:
        rate: events per second.
        page: events of a transaction, at most those of a second.
        pending: events in the outbox that are not in their stream yet, above which the action
            waits.
        behind: entries that the receiver has not finished, above which the action waits.
    """

    rate: float = 500.0
    page: int = 200
    pending: int = 2_000
    behind: int = 10_000


@dataclass(frozen=True, slots=True)
class Advance:
    """How far an action is.

    Attributes:
        done: events that are written, also by earlier runs.
        total: events that are to be written, as they were counted at the beginning.
        rate: events per second since this run began; None while nothing is written.
        remaining: seconds that the rest takes at this rate; None while nothing is written.
        waits: why nothing is written at the moment; empty if pages are written.
    """

    done: int
    total: int
    rate: float | None = None
    remaining: float | None = None
    waits: str = ""


Report = Callable[[Advance], None]
"""Called after each page, and while the next page waits."""


def in_silence(_: Advance) -> None:
    """Report nothing."""


class Pages(Protocol):
    """The events of an action, in their order."""

    async def write(self, limit: int) -> int:
        """Write the next events in a transaction; return their number, 0 at the end.

        Raises `TryAgain` if another transaction won; then the same events come next again.
        """

    async def obstacle(self) -> str:
        """Return why the next events have to wait; empty if there is room."""


def rest_of(events: int, rate: float, seconds: float) -> float:
    """Return how long a page has to wait after its transaction, so that a rate is kept.

    Args:
        events: events of the page.
        rate: events per second.
        seconds: the time that the transaction took.
    """
    return max(0.0, events / rate - seconds)


class Meter:
    """Compute rate and remaining time. Pure arithmetic: the caller passes the time."""

    def __init__(self, done: int, total: int, now: float) -> None:
        self._done_before, self._begun = done, now
        self.done = done
        self.total = total

    def advance(self, now: float, waits: str = "") -> Advance:
        """Return how far the action is."""
        written, seconds = self.done - self._done_before, now - self._begun
        if not written or seconds <= 0:
            return Advance(self.done, self.total, waits=waits)
        rate = written / seconds
        # Rows may be gone, or match meanwhile: the total is the number of the beginning.
        remaining = max(0, self.total - self.done) / rate
        return Advance(self.done, self.total, rate, remaining, waits)


async def until_won(transaction: Callable[[], Awaitable[T]], lost: Callable[[], None]) -> T:
    """Repeat a transaction until no other transaction wins; call `lost` after each defeat."""
    while True:
        try:
            return await transaction()
        except TryAgain:
            lost()
        await asyncio.sleep(_PAUSE)


async def write_pages(pages: Pages, limits: Limits, meter: Meter, report: Report) -> None:
    """Write all pages.

    Args:
        pages: the events.
        limits: the bounds.
        meter: counts the events.
        report: is called with each advance.
    """
    clock = asyncio.get_running_loop().time
    # A page of more than a second would be a burst, and then a long silence.
    portion = Portion(max(1, min(limits.page, int(limits.rate))))

    def lost() -> None:
        # Fewer rows, so that a single locked row does not hold up many others.
        portion.went_badly()
        report(meter.advance(clock(), LOCKED))

    while True:
        while waits := await pages.obstacle():
            report(meter.advance(clock(), waits))
            await asyncio.sleep(_PAUSE)
        begun = clock()
        count = await until_won(lambda: pages.write(portion.size), lost)
        if not count:
            return
        portion.went_well()
        meter.done += count
        # After the wait, which is a part of the page: the rate would be too high before.
        await asyncio.sleep(rest_of(count, limits.rate, clock() - begun))
        report(meter.advance(clock()))
