"""Pages that are throttled: pure arithmetic, and the loop around it."""

from edgy_bus.errors import TryAgain
from edgy_bus.operations import Advance, Limits
from edgy_bus.operations.paced import LOCKED, Meter, rest_of, write_pages


def test_a_page_waits_for_the_rest_of_the_time_that_its_events_have() -> None:
    assert rest_of(5, 10.0, 0.25) == 0.25
    assert rest_of(5, 10.0, 2.0) == 0.0, "and nothing is made up for"


def test_a_meter_counts_this_run_only() -> None:
    meter = Meter(done=40, total=100, now=10.0)
    assert meter.advance(12.0) == Advance(40, 100)
    meter.done = 60
    assert meter.advance(20.0) == Advance(60, 100, rate=2.0, remaining=20.0)
    meter.done = 120
    assert meter.advance(20.0, "no relay").remaining == 0, "there are more rows by now"
    assert meter.advance(20.0, "no relay").waits == "no relay"


class Events:
    """Events that are in the way of other transactions and of obstacles."""

    def __init__(self, count: int, *, lost: int = 0, obstacles: int = 0) -> None:
        self.count, self.lost, self.obstacles = count, lost, obstacles
        self.limits: list[int] = []

    async def write(self, limit: int) -> int:
        self.limits.append(limit)
        if self.lost:
            self.lost -= 1
            raise TryAgain("locked")
        written = min(limit, self.count)
        self.count -= written
        return written

    async def obstacle(self) -> str:
        self.obstacles -= 1
        return "" if self.obstacles < 0 else "no relay"


async def advances_of(events: Events, limits: Limits) -> list[Advance]:
    advances: list[Advance] = []
    await write_pages(events, limits, Meter(0, events.count, 0.0), advances.append)
    return advances


async def test_a_page_has_at_most_the_events_of_a_second() -> None:
    events = Events(2)
    await advances_of(events, Limits(rate=0.5e6, page=7))
    assert events.limits == [7, 7]
    events = Events(0)
    await advances_of(events, Limits(rate=3.5, page=7))
    assert events.limits == [3]
    events = Events(0)
    await advances_of(events, Limits(rate=0.1, page=7))
    assert events.limits == [1]


async def test_a_page_that_lost_is_repeated_with_fewer_rows() -> None:
    events = Events(20, lost=1)
    advances = await advances_of(events, Limits(rate=1e6, page=16))
    assert events.limits[:4] == [16, 4, 8, 16]
    assert advances[0].waits == LOCKED
    assert [each.done for each in advances[1:]] == [4, 12, 20]


async def test_nothing_is_written_before_there_is_room() -> None:
    events = Events(1, obstacles=1)
    first, *rest = await advances_of(events, Limits(rate=1e6))
    assert first.waits == "no relay"
    assert [each.done for each in rest] == [1]
