"""Writes the events of a change in the transaction of the change: both happen, or neither."""

from collections.abc import Callable, Iterable
from typing import Any

from edgy_bus.codec import key_text
from edgy_bus.database import Database
from edgy_bus.errors import IntegrityError
from edgy_bus.events import new_event_id
from edgy_bus.outbox import single_statement
from edgy_bus.outbox.announcer import Announcer
from edgy_bus.outbox.encoding import EventEncoder, EventRow, stamp
from edgy_bus.outbox.single_statement import EventKind
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.sources import (
    Instance,
    RowChange,
    SingleRow,
    SourceModel,
    TableModel,
    Values,
    Write,
)
from edgy_bus.sources.statements import KEY, POSTGRESQL, lock_row

Publishes = Callable[[SourceModel, str], bool]
"""Returns whether a model's signal goes to the broker."""


class OutboxWriter:
    """The writer of a source whose bus has a broker.

    The outbox id of an event is assigned while the transaction holds the lock of the event's row.
    So the id rises from event to event of a row, and is the event's `sequence`.
    """

    def __init__(
        self,
        *,
        store: OutboxStore,
        encoder: EventEncoder,
        publishes: Publishes,
        announcer: Announcer,
        ring: Callable[[], None],
    ) -> None:
        self._store = store
        self._encoder = encoder
        self._publishes = publishes
        self._announcer = announcer
        self.ring = ring
        """Wakes the relay. A source that commits by itself calls this after the commit."""

    @property
    def _database(self) -> Database:
        return self._store.database

    def records(self, model: SourceModel, signal: str) -> bool:
        return self._publishes(model, signal)

    def events(
        self, model: SourceModel, signal: str, changes: Iterable[RowChange]
    ) -> list[EventRow]:
        """Return the outbox rows for changes that a source makes on a connection of its own.

        The source inserts them in the transaction of the changes, while the rows are locked.
        """
        return self._encoder.events(model, signal, changes)

    async def write(self, write: Write) -> list[RowChange]:
        """Make a change and write its events. Raises `EventError` for an event over the limit."""
        if not self.records(write.model, write.signal):
            return await write.run(self._database)
        single = self._single_row(write)
        if single is not None:
            return await self._write_row(write, single)
        async with self._database.transaction():
            changes = await self._write_rows(write)
            if changes:
                self._database.on_commit(self.ring)
        return changes

    def _single_row(self, write: Write) -> SingleRow | None:
        """Return the change of a row that can be one statement with its event."""
        model = write.model
        if self._database.dialect.name != POSTGRESQL or write.summary is not None:
            return None
        if not single_statement.is_recordable(model.table, model.pk, model.public):
            return None
        return write.single()

    async def _write_row(self, write: Write, single: SingleRow) -> list[RowChange]:
        """Change one row and write its event in one statement."""
        database = self._database
        statement = single_statement.with_event(single.statement, self._kind(write, single))
        values = single_statement.parameters(single, new_event_id(), stamp())
        try:
            rows = (await database.run(statement, values)).rows
        except IntegrityError as error:
            if single_statement.is_too_large(error):
                key = single.parameters.get(KEY)
                subject = None if key is None else key_text(key)
                raise self._encoder.too_large(write.model, write.signal, subject=subject) from None
            raise
        if rows and database.in_transaction:
            database.on_commit(self.ring)
        elif rows:
            self.ring()
        return [single.change(write.model.pk, row) for row in rows]

    def _kind(self, write: Write, single: SingleRow) -> EventKind:
        model, settings = write.model, self._encoder.settings
        return EventKind(
            model.table,
            model.pk,
            model.public,
            single.read,
            single.reports_old,
            self._encoder.service,
            self._encoder.model_name(model),
            write.signal,
            settings.partitions,
            settings.max_bytes,
        )

    async def _write_rows(self, write: Write) -> list[RowChange]:
        """Make a change page by page, and write the events of each page, in the open transaction."""
        model, signal, values = write.model, write.signal, write.summary
        if values is not None:
            changes = await write.run(self._database)
            if changes:
                event = self._encoder.set_event(
                    model, signal, values, len(changes), is_update=write.is_update
                )
                await self._store.append([event])
            return changes
        written: list[RowChange] = []
        async for page in write.pages(self._database):
            if page:
                await self._store.append(self._encoder.events(model, signal, page))
            written += write.kept(page)
        return written

    async def send(
        self, model: TableModel, signal: str, instance: Instance | None, kwargs: Values
    ) -> None:
        """Write the event of a signal that the application sends, in the open or a new transaction.

        The row of the instance is locked, as for a change of the row: without the lock, the event's
        number would not be in the order of the row's other events.
        """
        async with self._database.transaction():
            subject = None
            if instance is not None and await self._lock(model, instance.pk):
                subject = key_text(instance.pk)
            event = self._encoder.sent(model, signal, instance, kwargs, subject=subject)
            await self._store.append([event])
            self._database.on_commit(self.ring)

    async def _lock(self, model: TableModel, key: Any) -> bool:
        """Lock a row, and return whether the row exists."""
        statement = lock_row(model.table, model.pk, (), exclusive=False)
        return bool((await self._database.run(statement, {KEY: key})).rows)

    def announce(
        self, model: SourceModel, signal: str, instance: Instance | None, values: Values | None
    ) -> None:
        """Publish a `pre_*` event in the background, if there is room for the event."""
        if self.records(model, signal):
            self._announcer.put(lambda: self._encoder.announcement(model, signal, instance, values))
