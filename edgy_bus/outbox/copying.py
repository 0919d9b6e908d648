"""Writes events of the outbox again, as copies that are addressed to receivers.

A copy is an event like any other: it has an id and a number of its own. Live events come meanwhile.
If a copy of an older event stood behind the newest event of a row, its receiver would be left with
the older state. Two rules see to that:

- Events are copied in the order of their numbers, up to the newest event. So a live event that has
  come before a copy of an older event comes again, behind the copy.
- No event is passed over because its transaction is open. Events are copied up to a number that was
  the newest while no transaction with an event was open: all of them are committed. The last events
  are copied while no other transaction can write events.

Besides, the rows are locked while copies of their events are written, so that the numbers of a
row's events rise in the order of the commits, as everywhere: repairs after a loss rely on that.
Only a row that is gone cannot be locked.
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from edgy_bus.codec import context_of_copy
from edgy_bus.database import Row
from edgy_bus.events import new_event_id, partition_name
from edgy_bus.outbox.encoding import EventRow
from edgy_bus.outbox.store import Originals, OutboxStore
from edgy_bus.outbox.table import outbox
from edgy_bus.sources import TableModel
from edgy_bus.sources.statements import POSTGRESQL, lock_rows

ROW_LOCK = 500
"""Milliseconds to wait for the lock of a row: rows that are locked by then must not wait longer."""

_OUTBOX_LOCK = 50
"""Milliseconds to wait until no other transaction writes events: new ones wait for that long."""

_WRITERS_WAIT = f"SET LOCAL lock_timeout = {_OUTBOX_LOCK}; LOCK TABLE {outbox.name} IN SHARE MODE"

_NEAR = 1_000
"""Ids behind the settled ones that are looked at while nobody else can write events."""

Recipients = Mapping[str, Collection[str]]
"""The receivers as GROUP/RECEIVER, and the names of the signals that each of them gets."""


class Copied(NamedTuple):
    """The result of a page.

    Attributes:
        copies: the number of copies.
        after: the id up to which events are copied.
        is_last: whether the newest event is copied.
    """

    copies: int
    after: int
    is_last: bool


class EventCopier:
    """Copies the events of a model, page by page, in transactions of the caller: first `settle`."""

    def __init__(
        self,
        store: OutboxStore,
        model: TableModel,
        originals: Originals,
        recipients: Recipients,
        *,
        partitions: int,
        ring: Callable[[], None],
    ) -> None:
        self._store = store
        self._database = store.database
        self._model = model
        self._originals = originals
        self._recipients = recipients
        self._partitions = partitions
        self._ring = ring
        self._settled = 0
        """An id up to which all events are committed."""

    async def settle(self) -> None:
        """Note up to where all events are committed; others write none until the transaction ends.

        Raises `TryAgain` if transactions that have written events do not end in time.
        """
        # On SQLite the transaction has the lock of the file.
        if self._database.dialect.name == POSTGRESQL:
            await self._database.script(_WRITERS_WAIT)
        self._settled = await self._store.originals.newest()

    async def write(self, after: int, limit: int) -> Copied:
        """Copy the next events, in the open transaction.

        Args:
            after: the id up to which events are copied.
            limit: the most events.

        Raises:
            TryAgain: if another transaction keeps a row locked, or does not end.
        """
        settled = self._settled
        page = await self._read(after, settled, limit)
        if len(page) == limit:
            await self._lock_rows(page)
            return await self._append(page, page[-1]["id"])
        await self.settle()
        if self._settled - settled > _NEAR:
            # To look for events among that many ids would take long, while writers wait.
            return await self._append(page, max(after, settled))
        rest = limit - len(page)
        end = await self._read(max(after, settled), self._settled, rest)
        page += end
        is_last = len(end) < rest
        return await self._append(page, page[-1]["id"] if page else after, is_last=is_last)

    async def _read(self, after: int, last: int, limit: int) -> list[Row]:
        return await self._store.originals.read(self._originals, after, last, limit)

    async def _append(self, page: list[Row], after: int, *, is_last: bool = False) -> Copied:
        copies = [copy for event in page for copy in self._copies(event)]
        if copies:
            await self._store.append(copies)
            self._database.on_commit(self._ring)
        return Copied(len(copies), after, is_last)

    async def _lock_rows(self, page: list[Row]) -> None:
        subjects = {event["subject"] for event in page if event["subject"] is not None}
        if not subjects or self._database.dialect.name != POSTGRESQL:
            return
        await self._database.script(f"SET LOCAL lock_timeout = {ROW_LOCK}")
        key = self._model.table.c[self._model.pk]
        where = self._model.conditions({"pk__in": sorted(subjects)})
        await self._database.run(lock_rows(key, where, (), exclusive=False))

    def _copies(self, event: Row) -> list[EventRow]:
        return [
            self._copy(event, to)
            for to, signals in self._recipients.items()
            if event["signal"] in signals
        ]

    def _copy(self, event: Row, to: str) -> EventRow:
        event_id, subject = new_event_id(), event["subject"]
        # The stored event and nothing more: secrets are not there.
        kept = ("model", "source", "signal", "subject", "time", "traceparent", "causation", "data")
        return {
            **{name: event[name] for name in kept},
            "event_id": event_id,
            "label": partition_name(subject, event_id, self._partitions),
            "context": context_of_copy(event["context"], event["event_id"]),
            "to": to,
        }
