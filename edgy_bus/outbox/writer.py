"""Writes the events of a change in the transaction of the change: both happen, or neither."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from edgy_bus import telemetry
from edgy_bus.codec import key_text
from edgy_bus.database import Database
from edgy_bus.errors import IntegrityError
from edgy_bus.events import new_event_id
from edgy_bus.outbox import single_statement
from edgy_bus.outbox.announcer import Announcer
from edgy_bus.outbox.copying import ROW_LOCK, EventCopier, Recipients
from edgy_bus.outbox.encoding import EventEncoder, EventRow, stamp
from edgy_bus.outbox.single_statement import EventKind
from edgy_bus.outbox.store import Originals, OutboxStore
from edgy_bus.sources import (
    Instance,
    Key,
    RowChange,
    SingleRow,
    SourceModel,
    TableModel,
    UnnamedRows,
    Values,
    Write,
)
from edgy_bus.sources.statements import KEY, POSTGRESQL, Conditions, lock_row, lock_rows

Publishes = Callable[[SourceModel, str], bool]
"""Returns whether a model's signal goes to the broker."""

_NO_SPAN = nullcontext()


class OutboxWriter:
    """The writer of a source whose bus has a broker."""

    # The outbox id of an event is assigned while the transaction holds the lock of the event's row.
    # So the id rises from event to event of a row, in the order of commits, and is the event's
    # `sequence`. Every way of writing an event below keeps to that.

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

        The source inserts the rows in the transaction of the changes, after the changes.
        """
        return self._encoder.events(model, signal, changes)

    async def write(self, write: Write) -> Sequence[RowChange]:
        """Make a change and write its events. Raises `EventError` for an event over the limit."""
        if not self.records(write.model, write.signal):
            return await write.run(self._database)
        with self._span(write.model, write.signal):
            return await self._record(write)

    def _span(self, model: SourceModel, signal: str) -> AbstractContextManager[object]:
        """Return the span of an operation, whose context its events carry."""
        maker = telemetry.spans()
        if maker is None:
            return _NO_SPAN
        return maker.operation(self._encoder.model_name(model), signal) or _NO_SPAN

    async def _record(self, write: Write) -> Sequence[RowChange]:
        single = self._single_row(write)
        if single is not None:
            return await self._write_row(write, single)
        async with self._database.transaction():
            changes = await self._write_rows(write)
            if changes:
                # After the commit: the relay would not see the events before.
                self._database.on_commit(self.ring)
        return changes

    def _single_row(self, write: Write) -> SingleRow | None:
        """Return the change of a row that can be a single statement with its event."""
        model = write.model
        if self._database.dialect.name != POSTGRESQL or write.summary is not None:
            return None
        if not single_statement.is_recordable(model.table, model.pk, model.public):
            return None
        return write.single()

    async def _write_row(self, write: Write, single: SingleRow) -> list[RowChange]:
        """Change a row and write its event in a single statement."""
        database = self._database
        statement = single_statement.with_event(single.statement, self._kind(write, single))
        values = single_statement.parameters(single, new_event_id(), stamp())
        try:
            rows = (await database.run(statement, values)).rows
        except IntegrityError as error:
            if not single_statement.is_too_large(error):
                raise
            key = single.parameters.get(KEY)
            subject = None if key is None else key_text(key)
            too_large = self._encoder.too_large(write.model, write.signal, subject=subject)
            # The cause is an implementation detail, and its text contains the subject.
            raise too_large from None
        if rows and database.in_transaction:
            database.on_commit(self.ring)
        elif rows:
            self.ring()
        return [single.change(write.model.pk, row) for row in rows]

    def _kind(self, write: Write, single: SingleRow) -> EventKind:
        model, encoder = write.model, self._encoder
        # Positions, because keywords would cost time for every row.
        return EventKind(
            model.table,
            model.pk,
            model.public,
            single.read,
            single.reports_old,
            encoder.model_name(model),
            write.signal,
            encoder.service,
            encoder.settings.partitions,
            encoder.settings.max_bytes,
        )

    async def _write_rows(self, write: Write) -> Sequence[RowChange]:
        """Make a change of any size, and write its events, in the open transaction."""
        model, signal, values = write.model, write.signal, write.summary
        if values is not None:
            return await self._write_set(write, values)
        kept: list[RowChange] = []
        count = 0
        async for page in write.pages(self._database):
            if page:
                await self._store.append(self._encoder.events(model, signal, page))
            # Only a page of a large set is in memory, with its events.
            kept += write.kept(page)
            count += len(page)
        return kept if len(kept) == count else UnnamedRows(count)

    async def _write_set(self, write: Write, values: Values) -> Sequence[RowChange]:
        """Change a set, and write its only event."""
        changes = await write.run(self._database)
        if changes:
            event = self._encoder.set_event(
                write.model, write.signal, values, len(changes), is_update=write.is_update
            )
            await self._store.append([event])
        return changes

    async def repeat(self, model: TableModel, where: Conditions, limit: int, to: str) -> list[Key]:
        """Write the events of rows that exist, in the order of their keys, in the open transaction.

        The rows stay locked until the end of the transaction, so that the events stand among the
        later events of the rows in the order of the commits.

        Args:
            model: a model whose `REPEATS` goes to the broker.
            where: the conditions that the rows fulfil.
            limit: the most rows.
            to: the receiver that the events are addressed to, as GROUP/RECEIVER.

        Returns:
            The keys of the rows.

        Raises:
            TryAgain: if another transaction keeps one of the rows locked.
        """
        database = self._database
        if database.dialect.name == POSTGRESQL:
            # The rows that are locked by then must not wait for a transaction that takes long.
            await database.script(f"SET LOCAL lock_timeout = {ROW_LOCK}")
        key = model.table.c[model.pk]
        locking = lock_rows(key, where, model.public, exclusive=False).limit(limit)
        rows = (await database.run(locking)).rows
        if rows:
            changes = [RowChange(row[key.name], row) for row in rows]
            await self._store.append(list(self._encoder.repeated(model, changes, to)))
            database.on_commit(self.ring)
        return [row[key.name] for row in rows]

    def copier(
        self, model: TableModel, originals: Originals, recipients: Recipients
    ) -> EventCopier:
        """Return what copies events of a model for receivers."""
        return EventCopier(
            self._store,
            model,
            originals,
            recipients,
            partitions=self._encoder.settings.partitions,
            ring=self.ring,
        )

    async def send(
        self, model: TableModel, signal: str, instance: Instance | None, kwargs: Values
    ) -> None:
        """Write the event of a signal that the application sends, in the open or a new transaction.

        The event of an instance whose row is gone has no subject: it has no place among the events
        of a row.
        """
        with self._span(model, signal):
            await self._send(model, signal, instance, kwargs)

    async def _send(
        self, model: TableModel, signal: str, instance: Instance | None, kwargs: Values
    ) -> None:
        async with self._database.transaction():
            subject = None
            if instance is not None and await self._lock(model, instance.pk):
                subject = key_text(instance.pk)
            event = self._encoder.sent(model, signal, instance, kwargs, subject=subject)
            await self._store.append([event])
            self._database.on_commit(self.ring)

    async def _lock(self, model: TableModel, key: Key | None) -> bool:
        """Lock a row, and return whether the row exists."""
        # Without the lock, the event's id would not be in the order of the row's other events.
        statement = lock_row(model.table.c[model.pk], (), exclusive=False)
        return bool((await self._database.run(statement, {KEY: key})).rows)

    def announce(
        self,
        model: SourceModel,
        signal: str,
        instance: Instance | None,
        values: Values | None,
        *,
        is_update: bool | None = None,
    ) -> None:
        """Publish a `pre_*` event in the background, if there is room for the event."""
        if not self.records(model, signal):
            return
        # A function, because an event that finds no room is not made at all.
        self._announcer.put(
            lambda: self._encoder.announcement(model, signal, instance, values, is_update=is_update)
        )
