"""Tells the broker what is finished, and what is known about the rest: all that came up during one call in the next."""

import asyncio
from collections.abc import Callable, Sequence

from edgy_bus.brokers.base import Broker, EntryId, Kept, Lease
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.runtime.jobs import Handling

_FIRST_PAUSE = 0.05


class Acknowledger:
    """What one session owes the broker.

    Args:
        lease: of the session; every word to the broker is said under it.
        backoff: longest pause in seconds between attempts while the broker is away.
        told: called whenever the broker was told something.
    """

    def __init__(
        self, broker: Broker, lease: Lease, backoff: float, told: Callable[[], None]
    ) -> None:
        self._broker = broker
        self._lease = lease
        self._backoff = backoff
        self._told = told
        self._changed: dict[EntryId, Handling] = {}
        self._owed = asyncio.Event()
        self._ending = False
        self._assured: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        """Entries that the broker has to be told about."""
        return len(self._changed)

    def owe(self, handling: Handling) -> None:
        """The broker has to be told about this entry."""
        if not self._changed:
            self._owed.set()
        self._changed[handling.entry.id] = handling

    async def assure(self, handlings: Sequence[Handling]) -> None:
        """Return when the broker has been told what is known about these entries now."""
        if not handlings:
            return
        told = asyncio.get_running_loop().create_future()
        self._assured.append(told)
        for handling in handlings:
            self.owe(handling)
        await told

    def end(self) -> None:
        """`run` returns when nothing is owed any more."""
        self._ending = True
        self._owed.set()

    async def run(self) -> None:
        """Raises `LeaseLost`, and `BrokerError` for what no patience mends."""
        pause = _FIRST_PAUSE
        while True:
            await self._owed.wait()
            self._owed.clear()
            changed, self._changed = self._changed, {}
            assured, self._assured = self._assured, []
            try:
                await self._tell(changed)
            except BrokerUnavailable:
                self._changed = {**changed, **self._changed}
                self._assured = [*assured, *self._assured]
                self._owed.set()
                await asyncio.sleep(pause)
                pause = min(self._backoff, pause * 2)
                continue
            pause = _FIRST_PAUSE
            for told in assured:
                if not told.done():
                    told.set_result(None)
            self._told()
            if self._ending and not self._changed:
                return

    async def _tell(self, changed: dict[EntryId, Handling]) -> None:
        unfinished = [one for one in changed.values() if one.unfinished]
        finished = [one for one in changed.values() if not one.unfinished]
        if unfinished:
            notes = {one.entry.id: one.packed() for one in unfinished}
            await self._broker.note(self._lease, notes, _kept(unfinished))
        if finished:
            await self._broker.settle(
                self._lease, [one.entry.id for one in finished], _kept(finished)
            )


def _kept(handlings: Sequence[Handling]) -> list[Kept]:
    return [kept for one in handlings if one.notes for kept in one.kept]
