"""The course of every operation: `pre_*` receivers, the write, `post_*` receivers that run here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgy_bus.database import Row
from edgy_bus.errors import SkipOperation
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


@dataclass(slots=True)
class Operation:
    """One call of `save`, `update` or `delete`, on an instance or on a set of rows.

    `write` is made after the `pre_*` receivers have run, from the values that they left. Its
    argument says whether receivers need the old values. `apply` gives the written rows to the
    instance, before `post_*` receivers see it.
    """

    model: MetaInfo
    action: str
    instance: Any
    """The instance of the model, or the QuerySet."""
    values: Any
    """The assigned values, as receivers get them."""
    write: Callable[[bool], Write]
    apply: Callable[[Sequence[RowChange]], None] = lambda _: None
    is_update: bool = False
    model_instance: Instance | None = None

    def kwargs(self) -> Row:
        """Return the keywords of every receiver."""
        # The names, and both names of the values, are those of Edgy.
        kwargs = {"model_instance": self.model_instance}
        if self.action == "delete":
            return kwargs
        return {
            **kwargs,
            "values": self.values,
            "column_values": self.values,
            "is_update": self.is_update,
        }

    def announced_values(self) -> Values | None:
        """Return the values of the `pre_*` event; None for values of several rows."""
        values = {} if self.values is None else self.values
        return values if isinstance(values, Mapping) else None


async def perform(operation: Operation) -> list[RowChange]:
    """Run an operation and return the affected rows.

    An error of a `pre_*` receiver reaches the caller; nothing has been written or published then.
    `SkipOperation` ends the operation without an error.
    """
    model, registry = operation.model, operation.model.registry
    before, after = (model.signals[f"{when}_{operation.action}"] for when in ("pre", "post"))
    if not before.is_muted:
        try:
            await before.deliver(
                before.receivers, model.sender, operation.instance, operation.kwargs()
            )
        except SkipOperation:
            kwargs = {**operation.kwargs(), "row_count": 0, "operation_skipped": True}
            receivers = receivers_here(registry.writer, model, after)
            await after.deliver(receivers, model.sender, operation.instance, kwargs)
            return []
    # Old values cost a lock and a read where no event needs them, so only receivers ask for them.
    receivers = receivers_here(registry.writer, model, after)
    write = operation.write(bool(receivers))
    # After the validation in `operation.write`: an operation that is refused is not announced.
    if not before.is_muted:
        registry.writer.announce(
            model, before.name, operation.model_instance, operation.announced_values()
        )
    if after.is_muted:
        # Past the writer: a muted signal has no event.
        changes = await write.run(registry.database)
    else:
        changes = await registry.writer.write(write)
    # Before the receivers run: they get the instance as the database has it.
    operation.apply(changes)
    if receivers:
        await _deliver(after, receivers, operation, changes)
    return changes


def receivers_here(writer: EventWriter, model: SourceModel, signal: Signal) -> list[Receiver]:
    """Return the receivers of a signal that run in this process."""
    if signal.is_muted:
        return []
    elsewhere = writer.records(model, signal.name)
    return [receiver for receiver in signal.receivers if receiver.options.local or not elsewhere]


async def send(
    signal: Signal, sender: Any, instance: Any, row: Instance | None, kwargs: Values
) -> None:
    """Send a signal for the application: to the outbox, then to the receivers that run here.

    `sender` is the class of a model. `row` is the instance if it is a row of a model, else None.
    """
    model: MetaInfo = sender.meta
    writer = model.registry.writer
    if writer.records(model, signal.name):
        await writer.send(model, signal.name, row, kwargs)
    await signal.deliver(receivers_here(writer, model, signal), sender, instance, kwargs)


async def _deliver(
    signal: Signal,
    receivers: Sequence[Receiver],
    operation: Operation,
    changes: Sequence[RowChange],
) -> None:
    model, database = operation.model, operation.model.registry.database
    kwargs = {**operation.kwargs(), "row_count": len(changes), "operation_skipped": False}
    # A set may be large: its receivers get keys, not rows.
    if operation.model_instance is None:
        kwargs["keys"] = [change.key for change in changes]
    elif changes:
        kwargs["changes"] = changes_of(changes[0], model.public)
    later: list[Receiver] = []
    # Outside of a transaction, the change is committed already.
    if database.in_transaction:
        later = [receiver for receiver in receivers if receiver.options.on_commit]
    if later:
        database.on_commit(lambda: signal.deliver(later, model.sender, operation.instance, kwargs))
    now = [receiver for receiver in receivers if receiver not in later]
    await signal.deliver(now, model.sender, operation.instance, kwargs)
