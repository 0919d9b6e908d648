"""The progress of a service is that of its relays."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from edgy_bus.health import Pulse
from edgy_bus.http import heart as hearts
from edgy_bus.http.heart import Heart
from tests.support import eventually


@dataclass
class Relay:
    """What a heart asks a relay."""

    alive: bool
    ready: bool


class Counted(Pulse):
    """A pulse that counts its beats."""

    beats = 0

    def beat(self, *, is_ready: bool = False) -> None:
        super().beat(is_ready=is_ready)
        self.beats += 1


async def rounds(heart: Heart) -> None:
    """Wait for another round."""
    noted = heart.progress._due
    await eventually(lambda: heart.progress._due != noted)


async def test_a_service_makes_progress_while_all_its_relays_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hearts, "_BEAT", 0.001)
    pulse = Counted()
    relays: list[Any] = [Relay(alive=True, ready=False), Relay(alive=False, ready=True)]
    heart = Heart(pulse, relays)
    async with heart:
        for _ in range(3):
            await rounds(heart)
        assert pulse.beats == 0  # one of them hangs
        relays[1].alive = True
        await eventually(lambda: pulse.beats > 3)
        assert not pulse.is_ready
        relays[0].ready = True
        await eventually(lambda: pulse.is_ready)


async def test_a_service_without_a_relay_is_ready_when_it_has_started() -> None:
    pulse = Pulse()
    async with Heart(pulse, []):
        await asyncio.sleep(0)
        await eventually(lambda: pulse.is_ready)
