"""How often other processes are woken."""

import asyncio
from typing import cast

import pytest

from edgy_bus.database import Database
from edgy_bus.errors import DatabaseUnavailable
from edgy_bus.outbox import notifier as module
from edgy_bus.outbox.notifier import CHANNEL, Notifier
from tests.support import Told, eventually


class Heard:
    """A database that remembers who was woken."""

    def __init__(self, *errors: Exception) -> None:
        self.channels: list[str] = []
        self._errors = list(errors)

    async def notify(self, channel: str) -> None:
        self.channels.append(channel)
        if self._errors:
            raise self._errors.pop()


def notifier(heard: Heard) -> Notifier:
    return Notifier(cast(Database, heard))


async def test_a_ring_is_told_at_once_and_those_in_the_gap_after_it_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "GAP", 0.2)
    heard = Heard()
    async with notifier(heard) as one:
        one.ring()
        await eventually(lambda: heard.channels == [CHANNEL])
        for _ in range(10):
            one.ring()
            await asyncio.sleep(0)
        assert heard.channels == [CHANNEL]
        await eventually(lambda: len(heard.channels) == 2)
    assert heard.channels == [CHANNEL] * 2


@pytest.mark.parametrize("rings", [0, 1])
async def test_it_ends_at_once_in_a_gap_and_tells_what_was_rung_for_meanwhile(
    rings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GAP", 60)
    heard = Heard()
    async with asyncio.timeout(5), notifier(heard) as one:
        one.ring()
        await eventually(lambda: heard.channels == [CHANNEL])
        for _ in range(rings):
            one.ring()
    assert heard.channels == [CHANNEL] * (1 + rings)


async def test_a_database_that_is_away_is_told_and_asked_again() -> None:
    heard = Heard(DatabaseUnavailable("away"))
    with Told() as told:
        async with notifier(heard) as one:
            one.ring()
            await eventually(lambda: len(told.of("notifier.failed")) == 1)
            one.ring()
            await eventually(lambda: len(heard.channels) == 2)
    assert told.of("notifier.failed") == [{"error": "DatabaseUnavailable"}]
