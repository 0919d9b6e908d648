"""Ask receivers before a change, and report the change: events, and receivers that run here."""

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from edgy_bus.errors import OperationError, SkipOperation
from edgy_bus.integrations.edgy.describing import EdgyModel
from edgy_bus.integrations.edgy.journals import Journal
from edgy_bus.integrations.row_changes import SAVE, Changed
from edgy_bus.integrations.sqlalchemy.announcing import Intent, deliveries, is_silent
from edgy_bus.integrations.sqlalchemy.calling import Call
from edgy_bus.integrations.sqlalchemy.writing import append
from edgy_bus.sources import EventWriter, RowChange, SourceModel, Value, Values

CallHere = Callable[[Call], Awaitable[None]]
"""Awaits the call of a receiver, in the transaction of the change."""


class Reporter:
    """The receivers and the events of a model, during the execution of a statement.

    Args:
        writer: makes events, and says which signals go to the broker.
        connection: the connection of the statement.
        model: the model.
        journal: what the connection's open transactions have done.
        call: calls receivers.
    """

    def __init__(
        self,
        writer: EventWriter,
        connection: AsyncConnection,
        model: EdgyModel,
        journal: Journal,
        call: CallHere,
    ) -> None:
        self._writer = writer
        self._connection = connection
        self._model = model
        self._journal = journal
        self._call = call

    def asks(self, action: str) -> bool:
        """Return whether somebody is asked or told before a change."""
        return not is_silent(self._writer, self._model, action)

    async def ask(self, action: str, row: Values, values: Values) -> None:
        """Run the `pre_*` receivers of a row. What a receiver raises reaches the caller.

        Args:
            action: what is about to happen to the row.
            row: the row as it is; the values of a new row.
            values: the values that will be written.

        Raises:
            OperationError: for a receiver that skips or changes the operation.
        """
        model = self._model
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
            intent.announce(self._writer)

    def _cannot(self, intent: Intent, what: str, instead: str) -> OperationError:
        return OperationError(
            f"a receiver of {intent.signal} of {self._model.name} has {what} the operation. Edgy "
            f"has made its statement by then, which can be refused only: {instead}"
        )

    async def report(self, action: str, changes: Sequence[RowChange]) -> None:
        """Write the events of changes, and call the receivers that run here."""
        if not changes:
            return
        writer: Value = self._writer
        changed = Changed[SourceModel](self._model, action, changes)
        signal = f"post_{action}"
        if writer.records(self._model, signal):
            events = writer.events(self._model, signal, changes)
            await self._connection.run_sync(append, events)
            self._journal.note_events()
        self._journal.defer(deliveries(writer, changed, on_commit=True))
        for call in deliveries(writer, changed, on_commit=False):
            await self._call(call())
