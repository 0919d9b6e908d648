"""Tell the broker what is finished, and what is known about the rest.

Everything that comes up during a call goes into the next call.
"""

import asyncio
from collections.abc import Callable, Sequence

from edgy_bus.brokers.base import Broker, EntryId, Kept, Lease
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.runtime.jobs import Handling

_FIRST_PAUSE = 0.05


class Acknowledger:
    """Settle finished entries and note the state of the others.

    Args:
        lease: of the tenure; the broker checks the lease in every call.
        backoff: longest pause in seconds between attempts while the broker is away.
        told: called after each call that the broker has answered.
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
        """Return how many entries the broker must still be told about."""
        return len(self._changed)

    def owe(self, handling: Handling) -> None:
        """Tell the broker about an entry, in the next call."""
        if not self._changed:
            self._owed.set()
        self._changed[handling.entry.id] = handling

    async def assure(self, handlings: Sequence[Handling]) -> None:
        """Return when the broker has been told what is known about these entries now."""
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
        """Tell the broker whatever is owed, again and again until `end`.

        Raises:
            LeaseLost: when the broker refuses the lease, or has lost what it kept.
            BrokerError: for a refusal that waiting does not mend.
        """
        pause = _FIRST_PAUSE
        while True:
            await self._owed.wait()
            self._owed.clear()
            changed, self._changed = self._changed, {}
            assured, self._assured = self._assured, []
            try:
                await self._tell(changed)
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
                if not future.done():
                    future.set_result(None)
            self._told()
            if self._ending and not self._changed:
                return

    async def _tell(self, changed: dict[EntryId, Handling]) -> None:
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
