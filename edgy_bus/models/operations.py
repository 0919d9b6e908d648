"""The course of every operation: `pre_*` receivers, the write, `post_*` receivers that run here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgy_bus.database import Row
from edgy_bus.errors import IntegrityError, SkipOperation
from edgy_bus.models.delivery import Delivery, receivers_here
from edgy_bus.models.meta import MetaInfo
from edgy_bus.signals import Signal
from edgy_bus.sources import Instance, RowChange, SourceModel, Values, Write


@dataclass(slots=True)
class Operation:
    """One call of `save`, `update` or `delete`, on an instance or on a set of rows.

    `write` is made after the `pre_*` receivers have run, from the values that they left. Its
    argument says whether receivers need the old values. `apply` gives the written rows to the
    instance, before `post_*` receivers see it. `restore` takes back what receivers did to
    instances; it is called if the operation is refused, skipped or fails.
    """

    model: MetaInfo
    action: str
    instance: Any
    """The instance of the model, or the QuerySet."""
    values: Any
    """The assigned values, as receivers get them."""
    write: Callable[[bool], Write]
    apply: Callable[[Sequence[RowChange]], None] = lambda _: None
    restore: Callable[[], None] = lambda: None
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


async def perform(operation: Operation) -> Sequence[RowChange]:
    """Run an operation and return the affected rows.

    An error of a `pre_*` receiver reaches the caller; nothing has been written or published then.
    `SkipOperation` ends the operation without an error.
    """
    model = operation.model
    before, after = (model.signals[f"{when}_{operation.action}"] for when in ("pre", "post"))
    try:
        if not before.is_muted:
            kwargs = operation.kwargs()
            await before.deliver(before.receivers, model.sender, operation.instance, kwargs)
        # Old values cost a lock and a read where no event needs them: only receivers ask for them.
        delivery = _delivery(operation, after)
        write = operation.write(bool(delivery.receivers))
        # After the validation in `operation.write`: an operation that is refused is not announced.
        if not before.is_muted:
            _announce(operation, before.name)
        changes = await _run(operation, after, delivery.by_pages(write))
        # Before the receivers run: they get the instance as the database has it.
        operation.apply(changes)
    except SkipOperation:
        operation.restore()
        await _delivery(operation, after).skipped(operation.kwargs())
        return []
    except BaseException:
        operation.restore()
        raise
    if delivery.receivers:
        await delivery.after(operation.kwargs(), changes)
    return changes


def _announce(operation: Operation, signal: str) -> None:
    operation.model.registry.writer.announce(
        operation.model,
        signal,
        operation.model_instance,
        operation.announced_values(),
        is_update=None if operation.action == "delete" else operation.is_update,
    )


async def _run(operation: Operation, after: Signal, write: Write) -> Sequence[RowChange]:
    """Make the change, with its events."""
    registry = operation.model.registry
    try:
        if after.is_muted:
            # Past the writer: a muted signal has no event.
            return await write.run(registry.database)
        return await registry.writer.write(write)
    except IntegrityError as error:
        # A receiver may raise such an error, too, for a row of its own.
        error.refused = operation.instance
        # SQLite reports neither a table nor a column.
        error.add_note(f"the operation: {operation.action} of {operation.model.name}")
        raise


def _delivery(operation: Operation, signal: Signal) -> Delivery:
    """Return the calls of the receivers that run here after an operation."""
    # After the `pre_*` receivers, which may connect others.
    model = operation.model
    receivers = receivers_here(model.registry.writer, model, signal)
    return Delivery(model, signal, receivers, operation.instance, operation.model_instance)


def has_receivers(model: SourceModel, signal: str) -> bool:
    """Return whether an operation of now would call receivers of the signal."""
    announced = model.signals[signal]
    return bool(announced.receivers) and not announced.is_muted
