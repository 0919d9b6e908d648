"""The calls of `post_*` receivers and of receivers of custom signals in this process."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgy_bus.database import Database, Row
from edgy_bus.errors import SignalError
from edgy_bus.models.meta import MetaInfo
from edgy_bus.signals import Receiver, Signal
from edgy_bus.sources import (
    EventWriter,
    Instance,
    RowChange,
    SourceModel,
    Values,
    Write,
    changes_of,
)

OnPage = Callable[[Sequence[RowChange]], Awaitable[None]]


def receivers_here(writer: EventWriter, model: SourceModel, signal: Signal) -> list[Receiver]:
    """Return the receivers of a signal that run in this process."""
    if signal.is_muted:
        return []
    elsewhere = writer.records(model, signal.name)
    return [receiver for receiver in signal.receivers if receiver.options.local or not elsewhere]


@dataclass(slots=True)
class Delivery:
    """The calls of an operation's `post_*` receivers that run here.

    `by_pages` is called before the write, `after` or `skipped` at the end.

    Attributes:
        model: the model of the rows.
        signal: the signal.
        receivers: the receivers that run here.
        instance: the instance of the model, or the QuerySet.
        model_instance: the instance, or None for a set.
        has_rows: whether receivers with `rows=True` are called for each row.
    """

    model: MetaInfo
    signal: Signal
    receivers: Sequence[Receiver]
    instance: Any
    model_instance: Instance | None
    has_rows: bool = field(init=False)

    def __post_init__(self) -> None:
        self.has_rows = self.model_instance is None

    async def skipped(self, kwargs: Values) -> None:
        """Call the receivers after `SkipOperation`; no row was written."""
        keywords = {**kwargs, "row_count": 0, "operation_skipped": True}
        await self._call(self._of_whole(), self.instance, keywords)

    def by_pages(self, write: Write) -> Write:
        """Return a write that calls the receivers of single rows after each of its pages."""
        # A set whose rows share a single event has no rows for receivers, here and in workers.
        self.has_rows = self.has_rows and write.summary is None
        if not self.has_rows:
            return write
        receivers = [receiver for receiver in self.receivers if receiver.options.rows]

        async def call(page: Sequence[RowChange]) -> None:
            for change in page:
                await self._after_row(receivers, change, write.is_update)

        return _WriteByPages(write.model, write.signal, write, call) if receivers else write

    async def after(self, kwargs: Values, changes: Sequence[RowChange]) -> None:
        """Call the receivers of an instance, or of a set as a whole.

        Args:
            kwargs: the keywords that `pre_*` receivers got.
            changes: the affected rows.
        """
        keywords = {**kwargs, "row_count": len(changes), "operation_skipped": False}
        # A set may be large: its receivers get keys, not rows.
        if self.model_instance is None:
            keywords["keys"] = [change.key for change in changes]
        elif changes:
            keywords |= self._of_row(changes[0])
        await self._call(self._of_whole(), self.instance, keywords)

    def _of_whole(self) -> list[Receiver]:
        """Return the receivers that are called once, also for a set."""
        return [each for each in self.receivers if not (self.has_rows and each.options.rows)]

    async def _after_row(
        self, receivers: Sequence[Receiver], change: RowChange, is_update: bool
    ) -> None:
        instance = self.model.sender.from_row(change.row)
        keywords = {
            "model_instance": instance,
            "row_count": 1,
            "operation_skipped": False,
            **self._of_row(change),
        }
        if self.signal.name != "post_delete":
            keywords["is_update"] = is_update
        await self._call(receivers, instance, keywords)

    def _of_row(self, change: RowChange) -> Row:
        """Return the keywords that come from the written row."""
        keywords: Row = {"changes": changes_of(change, self.model.public)}
        if self.signal.name != "post_delete":
            # A save writes the whole row; the same rule makes the values in a worker.
            names = None if self.signal.name == "post_save" else change.assigned
            row = change.row
            values = dict(row) if names is None else {name: row[name] for name in names}
            keywords |= {"values": values, "column_values": values}
        return keywords

    async def _call(self, receivers: Sequence[Receiver], instance: Any, keywords: Row) -> None:
        signal, sender = self.signal, self.model.sender
        database = self.model.registry.database
        # Outside of a transaction, the change is committed already.
        waits = database.in_transaction
        later = [receiver for receiver in receivers if waits and receiver.options.on_commit]
        if later:
            database.on_commit(lambda: signal.deliver(later, sender, instance, keywords))
        now = [receiver for receiver in receivers if not (waits and receiver.options.on_commit)]
        await signal.deliver(now, sender, instance, keywords)


@dataclass(frozen=True, slots=True)
class _WriteByPages(Write):
    """A write that makes a call after each page, in the transaction of the write.

    Memory holds a single page with its receivers' instances.
    """

    write: Write
    on_page: OnPage

    @property
    def is_update(self) -> bool:
        return self.write.is_update

    def kept(self, page: list[RowChange]) -> list[RowChange]:
        return self.write.kept(page)

    async def run(self, database: Database) -> list[RowChange]:
        kept: list[RowChange] = []
        async with database.transaction():
            async for page in self.pages(database):
                kept += self.kept(page)
        return kept

    async def pages(self, database: Database) -> AsyncIterator[list[RowChange]]:
        async for page in self.write.pages(database):
            yield page
            # After the caller has written the page's events.
            await self.on_page(page)


async def send(
    signal: Signal, sender: Any, instance: object, row: Instance | None, kwargs: Values
) -> None:
    """Send a signal for the application: to the outbox, then to the receivers that run here.

    Args:
        signal: the signal, of the sender's model or of a parent model.
        sender: the class of a model.
        instance: what receivers here get as `instance`.
        row: the instance if it is a row of a model, else None.
        kwargs: the keywords of the application.

    Raises:
        SignalError: for a sender that does not have the signal, or an instance that is no row of
            the sender.
    """
    model = _model_of(signal, sender, row)
    announced = model.signals[signal.name]
    if announced.is_muted:
        return
    writer = model.registry.writer
    if writer.records(model, signal.name):
        if row is None and instance is not None:
            raise SignalError(
                f"{signal.name} goes to the broker with a row of {model.name} or without an "
                f"instance, not with a {type(instance).__name__}: send other values as keywords"
            )
        await writer.send(model, signal.name, row, kwargs)
    receivers = receivers_here(writer, model, announced)
    keywords = {**kwargs, "model_instance": row}
    await announced.deliver(receivers, model.sender, instance, keywords)


def _model_of(signal: Signal, sender: Any, row: Instance | None) -> MetaInfo:
    """Return the model that announces: the model of the row, or the sender's."""
    if not isinstance(sender, type) or not isinstance(getattr(sender, "meta", None), MetaInfo):
        raise SignalError(
            f"{signal.name} needs the class of a model as its sender, not {type(sender).__name__}: "
            "send(sender=User, instance=user)"
        )
    if row is not None and not isinstance(row, sender):
        raise SignalError(
            f"{signal.name} of {sender.__name__} cannot be sent with a {type(row).__name__}: "
            f"it needs an instance of {sender.__name__}, or of a model derived from it"
        )
    # A derived model announces its rows itself: with the parent's name, the event of a row would
    # be taken for an event of the parent's row of the same key.
    announcing: Any = sender if row is None else type(row)
    model: MetaInfo = announcing.meta
    if signal.name not in model.signals or not model.signals[signal.name].belongs_to(signal):
        raise SignalError(
            f"{signal.name} is a signal of another model: "
            f"declare and send {model.name}.meta.signals.{signal.name}"
        )
    return model
