"""Ask receivers before a change, and report the change: events, and receivers that run here."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from edgy_bus.errors import OperationError, SkipOperation
from edgy_bus.integrations.edgy.describing import EdgyModel
from edgy_bus.integrations.edgy.journals import Journal
from edgy_bus.integrations.edgy.rows import Identity, Rows
from edgy_bus.integrations.row_changes import SAVE, Changed
from edgy_bus.integrations.sqlalchemy.announcing import Intent, deliveries, is_silent
from edgy_bus.integrations.sqlalchemy.calling import Call
from edgy_bus.integrations.sqlalchemy.writing import append
from edgy_bus.outbox.encoding import EventRow
from edgy_bus.outbox.table import outbox
from edgy_bus.sources import EventWriter, RowChange, SourceModel, Value, Values


class Notifying(Protocol):
    """The part of a source that reports."""

    writer: EventWriter
    """Makes events, and says which signals go to the broker."""

    def notify(self, callback: Callable[[], None]) -> None:
        """Call a function that belongs to the event loop of the bus, some time."""


CallHere = Callable[[Call], Awaitable[None]]
"""Awaits the call of a receiver, in the transaction of the change."""


class Reporter:
    """The receivers and the events of rows, during the execution of a statement.

    Args:
        source: the source of the rows.
        connection: the connection of the statement.
        journal: what the connection's open transactions have done.
        call: calls receivers.
    """

    def __init__(
        self,
        source: Notifying,
        connection: AsyncConnection,
        journal: Journal,
        call: CallHere,
    ) -> None:
        self._source = source
        self._writer = source.writer
        self._connection = connection
        self._journal = journal
        self._call = call

    def asks(self, model: EdgyModel, action: str) -> bool:
        """Return whether a receiver or the bus learns of a change before it is made."""
        return not is_silent(self._writer, model, action)

    async def ask_each(
        self, model: EdgyModel, action: str, rows: Rows, values: Mapping[Identity, Values]
    ) -> None:
        """Run the `pre_*` receivers of rows that exist; see `ask`."""
        if self.asks(model, action):
            for key, row in rows.items():
                await self.ask(model, action, row, values.get(key, {}))

    async def ask(self, model: EdgyModel, action: str, row: Values, values: Values) -> None:
        """Run the `pre_*` receivers of a row. What a receiver raises reaches the caller.

        Args:
            model: the model of the row.
            action: what is about to happen to the row.
            row: the row as it is; the values of a new row.
            values: the values that will be written.

        Raises:
            OperationError: for a receiver that skips or changes the operation.
        """
        instance = model.instance(row)
        key = model.key_of(row) if action != SAVE else None
        intent = Intent(model, action, instance, values, key, row)
        receivers = intent.receivers()
        if receivers:
            try:
                await self._call(intent.call(receivers))
            except SkipOperation as error:
                instead = "raise an error that the caller handles"
                raise self._cannot(intent, "skipped", instead) from error
            if instance._db_dirty:
                instead = "change the row before the operation, or in Edgy's own pre_* signals"
                raise self._cannot(intent, "changed", instead)
        # After the receivers: an operation that is refused is not announced.
        if self._writer.records(model, intent.signal):
            self._source.notify(lambda: intent.announce(self._writer))

    @staticmethod
    def _cannot(intent: Intent, attempt: str, instead: str) -> OperationError:
        return OperationError(
            f"a receiver of {intent.signal} of {intent.model.name} has {attempt} the operation. "
            f"Edgy has made its statement by then, which can be refused only: {instead}"
        )

    async def report(self, model: EdgyModel, action: str, changes: Sequence[RowChange]) -> None:
        """Write the events of changes, and call the receivers that run here."""
        if not changes:
            return
        # Only the writer of a bus with a broker makes events.
        writer: Value = self._writer
        changed = Changed[SourceModel](model, action, changes)
        signal = f"post_{action}"
        if model.signals[signal].is_muted:
            return
        if writer.records(model, signal):
            events = writer.events(model, signal, changes)
            await self._append(events)
            self._journal.note_events()
        # After the events: a change whose event cannot be written is taken back.
        self._journal.defer(deliveries(writer, changed, on_commit=True))
        for call in deliveries(writer, changed, on_commit=False):
            await self._call(call())

    async def _append(self, events: Sequence[EventRow]) -> None:
        try:
            await self._connection.run_sync(append, events)
        except (OperationalError, ProgrammingError) as error:
            if outbox.name not in str(error.orig):
                raise
            raise OperationError(
                f"events cannot be written to the table {outbox.name} in the database of the "
                "registry, for the reason above: if the table is missing, start the bus, which "
                "creates it, before the first change"
            ) from error
