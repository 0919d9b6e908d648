"""Histories in which events are delivered more than once, played out in a test.

A group may lose its workers at any time, before they have reported the events that they finished.
So events come again: a `Trip` runs the receivers, and then takes back the progress of the group.
Only the effects of the receivers stay.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from edgy_bus.errors import ConfigurationError
from edgy_bus.signals.spelling import suggestion

CALM = "calm"
"""Every event is delivered once."""

CUTS = 100
"""The most waits at which calls are cut off, in one run after another."""


class Trip(Protocol):
    """Runs the receivers of all events that are due, and then forgets that they ran."""

    async def __call__(
        self, *, singly: bool = False, cut_at: int = 0, from_the_start: bool = False
    ) -> int:
        """Make the trip; return how many calls were cut off.

        Args:
            singly: whether batches have a single event.
            cut_at: the wait of each call at which its process dies; 0: no process dies.
            from_the_start: whether the events come again that were handled before.
        """


async def _twice(trip: Trip) -> None:
    await trip()


async def _late(trip: Trip) -> None:
    await trip(from_the_start=True)


async def _crash(trip: Trip) -> None:
    # At every wait, until no call has that many: the receiver must bear a crash anywhere.
    for wait in range(1, CUTS + 1):
        if not await trip(cut_at=wait):
            return


async def _batches(trip: Trip) -> None:
    await trip(singly=True)


Mode = Callable[[Trip], Awaitable[None]]

BEFORE: dict[str, Mode] = {"twice": _twice, "crash": _crash, "batches": _batches}
"""Modes in which events come a first time in vain, before they are handled for good."""

AFTER: dict[str, Mode] = {"late": _late}
"""Modes in which events come again after later events were handled."""

MODES = (CALM, *BEFORE, *AFTER)


def check_modes(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of modes. Raises `ConfigurationError` for a name that no mode has."""
    chosen = tuple(names)
    for name in chosen:
        if name not in MODES:
            hint = suggestion(str(name), MODES, "the modes are")
            raise ConfigurationError(f"edgy_bus_chaos has no mode {name!r}{hint}")
    return chosen
