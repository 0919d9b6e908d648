"""Settle finished entries at the broker, and note the state of unfinished entries.

All entries that change during a call go into the next call.
"""

import asyncio
from collections.abc import Callable, Sequence

from edgy_bus.brokers.base import Broker, EntryId, Kept, Lease
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.runtime.jobs import Handling

_FIRST_PAUSE = 0.05


class Acknowledger:
    """Report the entries of a tenure to the broker.

    Args:
        lease: of the tenure; the broker checks the lease in every call.
        backoff: longest pause in seconds between attempts while the broker is away.
        reported: called after each call that the broker has answered.
    """

    def __init__(
        self, broker: Broker, lease: Lease, backoff: float, reported: Callable[[], None]
    ) -> None:
        self._broker = broker
        self._lease = lease
        self._backoff = backoff
        self._reported = reported
        self._changed: dict[EntryId, Handling] = {}
        self._owed = asyncio.Event()
        self._ending = False
        self._assured: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        """Return how many entries are still to be reported."""
        return len(self._changed)

    def owe(self, handling: Handling) -> None:
        """Report an entry in the next call."""
        # Setting the event is slow enough to matter, and this runs for every event.
        if not self._changed:
            self._owed.set()
        self._changed[handling.entry.id] = handling

    async def assure(self, handlings: Sequence[Handling]) -> None:
        """Return when the present state of these entries is at the broker."""
        if not handlings:
            return
        assured = asyncio.get_running_loop().create_future()
        self._assured.append(assured)
        for handling in handlings:
            self.owe(handling)
        await assured

    def end(self) -> None:
        """Make `run` return as soon as nothing is owed."""
        self._ending = True
        self._owed.set()

    async def run(self) -> None:
        """Report the entries that are owed, again and again until `end`.

        Raises:
            LeaseLost: when the broker refuses the lease, or has lost an event that was put aside.
            BrokerError: for a refusal that waiting does not mend.
        """
        pause = _FIRST_PAUSE
        while True:
            await self._owed.wait()
            self._owed.clear()
            changed, self._changed = self._changed, {}
            assured, self._assured = self._assured, []
            try:
                await self._report(changed)
            except BrokerUnavailable:
                # Entries that changed during the call are newer than the same entries before it.
                self._changed = {**changed, **self._changed}
                self._assured = [*assured, *self._assured]
                self._owed.set()
                await asyncio.sleep(pause)
                pause = min(self._backoff, pause * 2)
                continue
            pause = _FIRST_PAUSE
            for future in assured:
                # A runner that waited for the report may have been cancelled meanwhile.
                if not future.done():
                    future.set_result(None)
            self._reported()
            if self._ending and not self._changed:
                return

    async def _report(self, changed: dict[EntryId, Handling]) -> None:
        unfinished = [handling for handling in changed.values() if handling.unfinished]
        finished = [handling for handling in changed.values() if not handling.unfinished]
        if unfinished:
            notes = {handling.entry.id: handling.packed() for handling in unfinished}
            await self._broker.note(self._lease, notes, _kept(unfinished))
        if finished:
            entries = [handling.entry.id for handling in finished]
            await self._broker.settle(self._lease, entries, _kept(finished))


def _kept(handlings: Sequence[Handling]) -> list[Kept]:
    return [kept for handling in handlings if handling.notes for kept in handling.kept]
