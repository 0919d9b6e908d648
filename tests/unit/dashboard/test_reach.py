"""The connections of the dashboard, with databases that come and go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.dashboard import reach as reaches
from edgy_bus.dashboard.reach import Reach
from edgy_bus.errors import DatabaseUnavailable
from edgy_bus.operations import Parts


class Base:
    """A database that answers or does not."""

    def __init__(self, name: str, *, answers: bool) -> None:
        self.url = SimpleNamespace(dialect="postgresql", hostname="host", database=name)
        self.answers = answers
        self.is_connected = False
        self.attempts = 0

    async def connect(self) -> None:
        self.attempts += 1
        await asyncio.sleep(0)
        if not self.answers:
            raise DatabaseUnavailable("connection refused")
        self.is_connected = True

    async def disconnect(self) -> None:
        self.is_connected = False


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


def reach_of(stack: AsyncExitStack, *bases: Base) -> Reach:
    stores: Any = [SimpleNamespace(database=base) for base in bases]
    return Reach(Parts(MemoryBroker(), "shop", stores), stack)


async def names(parts: Parts, unreachable: tuple[str, ...]) -> tuple[list[Any], tuple[str, ...]]:
    return [store.database.url.database for store in parts.outboxes], unreachable


async def test_a_database_that_is_away_hides_no_other(stack: AsyncExitStack) -> None:
    here, away = Base("here", answers=True), Base("away", answers=False)
    reach = reach_of(stack, away, here)
    reason = "postgresql://host/away: connection refused"
    assert await reach.look(names) == (["here"], (reason,))
    assert await reach.look(names) == (["here"], (reason,))
    assert (here.attempts, away.attempts) == (1, 1), "a page in between asks nobody again"


async def test_a_database_that_comes_back_is_shown(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Base("base", answers=False)
    reach = reach_of(stack, base)
    await reach.look(names)
    base.answers = True
    monkeypatch.setattr(reaches, "AGAIN", 0.0)
    assert await reach.look(names) == (["base"], ())


async def test_a_database_that_goes_away_leaves_the_broker(stack: AsyncExitStack) -> None:
    reach = reach_of(stack, Base("base", answers=True))

    async def view(parts: Parts, unreachable: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
        if parts.outboxes:
            raise DatabaseUnavailable("the connection was lost")
        return len(parts.outboxes), unreachable

    assert await reach.look(view) == (0, ("the connection was lost",))


async def test_requests_at_once_connect_once_and_the_end_disconnects() -> None:
    base = Base("base", answers=True)
    async with AsyncExitStack() as stack:
        reach = reach_of(stack, base)
        await asyncio.gather(*(reach.look(names) for _ in range(5)))
        assert base.attempts == 1
        assert base.is_connected
    assert not base.is_connected
