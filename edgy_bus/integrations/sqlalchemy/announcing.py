"""Run receivers in the flow of a session: `pre_*` before the SQL, others of this process after."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from edgy_bus.codec import dumps, loads
from edgy_bus.errors import OperationError, SkipOperation
from edgy_bus.integrations.row_changes import DELETE, UPDATE, Changed
from edgy_bus.integrations.sqlalchemy.calling import Call, Caller
from edgy_bus.integrations.sqlalchemy.flushing import assigned, current, identity
from edgy_bus.integrations.sqlalchemy.mapping import MappedModel
from edgy_bus.signals import Receiver, read_by
from edgy_bus.sources import (
    EventWriter,
    Key,
    RowChange,
    SourceModel,
    Value,
    Values,
    changes_of,
)

Keywords = dict[str, Value]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a `pre_*` event shows of an object: an `Instance` of the seam."""

    pk: Key | None
    values: Values

    def snapshot(self) -> Values:
        """Return the attributes that may leave the database."""
        return self.values


@dataclass(frozen=True, slots=True)
class Intent:
    """An operation on an object, or on a set of rows, that is about to happen.

    Attributes:
        model: the model.
        action: `save`, `update` or `delete`.
        target: the object; the statement for a set.
        values: the values that will be written; None for a set, whose statement has them.
        pk: the key of the object; None for a new object and for a set.
        current: the values of the object; None for a set.
    """

    model: SourceModel
    action: str
    target: Value
    values: Mapping[str, Value] | None
    pk: Key | None = None
    current: Values | None = None

    @property
    def signal(self) -> str:
        """Return the name of the signal."""
        return f"pre_{self.action}"

    @property
    def is_update(self) -> bool | None:
        """Return whether the rows exist, and go on to exist."""
        return None if self.action == DELETE else self.action == UPDATE

    def receivers(self) -> Sequence[Receiver]:
        """Return the `pre_*` receivers."""
        signal = self.model.signals[self.signal]
        return () if signal.is_muted else signal.receivers

    def call(self, receivers: Sequence[Receiver]) -> Call:
        """Return the calls of `pre_*` receivers."""
        signal = self.model.signals[self.signal]
        keywords: Keywords = {"model_instance": None if self.current is None else self.target}
        if self.action != DELETE:
            # Not to be changed: the session writes what the object has.
            values = None if self.values is None else MappingProxyType(dict(self.values))
            keywords |= {"values": values, "column_values": values, "is_update": self.is_update}
        return signal.deliver(receivers, self.model.sender, self.target, keywords)

    def announce(self, writer: EventWriter) -> None:
        """Publish the `pre_*` event, some time."""
        model = self.model
        if model.signals[self.signal].is_muted:
            return
        # A set has no object that could be shown.
        current = self.current
        shown = None if current is None else Shown(self.pk, _public(model, current))
        values = None if self.values is None else _public(model, self.values)
        writer.announce(model, self.signal, shown, values, is_update=self.is_update)


def _public(model: SourceModel, values: Values) -> Values:
    return {name: values[name] for name in model.public if name in values}


def ask(caller: Caller, intent: Intent, receivers: Sequence[Receiver]) -> None:
    """Run `pre_*` receivers of an operation. What a receiver raises reaches the caller."""
    if not receivers:
        return
    try:
        caller.wait_for(intent.call(receivers))
    except SkipOperation as error:
        raise OperationError(
            f"a receiver of {intent.signal} of {intent.model.name} has raised SkipOperation: a "
            "session writes all of its objects or none. Raise an error that the caller handles, or "
            "let the caller expunge the object"
        ) from error


def receivers_here(writer: EventWriter, model: SourceModel, name: str) -> Sequence[Receiver]:
    """Return the receivers of a `post_*` signal that run in this process."""
    signal = model.signals[name]
    if signal.is_muted:
        return ()
    # Where the signal goes to the broker, workers have the other receivers.
    elsewhere = writer.records(model, name)
    return [each for each in signal.receivers if each.options.local or not elsewhere]


def is_silent(writer: EventWriter, model: SourceModel, action: str) -> bool:
    """Return whether nobody is asked or told before a change."""
    signal = model.signals[f"pre_{action}"]
    return not signal.receivers and not writer.records(model, signal.name)


def wants(writer: EventWriter, model: SourceModel, action: str) -> bool:
    """Return whether a change has an event, or receivers here."""
    name = f"post_{action}"
    if model.signals[name].is_muted:
        return False
    return writer.records(model, name) or bool(receivers_here(writer, model, name))


def deliveries(
    writer: EventWriter, changed: Changed[SourceModel], *, on_commit: bool
) -> Sequence[Callable[[], Call]]:
    """Return the calls of the receivers that run here, for each row of a change.

    Args:
        writer: says which signals go to the broker.
        changed: the change.
        on_commit: whether the receivers are meant that wait for the commit, or the others.
    """
    model, name = changed.model, f"post_{changed.action}"
    here = receivers_here(writer, model, name)
    chosen = [each for each in here if each.options.on_commit is on_commit]
    if not chosen:
        return ()

    def calling(change: RowChange) -> Callable[[], Call]:
        return lambda: _call(model, name, chosen, change)

    return [calling(change) for change in changed.changes]


async def _call(
    model: SourceModel, name: str, receivers: Sequence[Receiver], change: RowChange
) -> None:
    # Detached and complete, as in a worker: the object of the session may wait to be refreshed.
    row = model.stored(_public(model, change.row))
    instance: Value = model.read(row)
    keywords: Keywords = {
        "model_instance": instance,
        "row_count": 1,
        "operation_skipped": False,
        "changes": changes_of(change, model.public),
    }
    if name != "post_delete":
        names = model.public if change.assigned is None else change.assigned
        values = {each: change.row[each] for each in names if each in model.public}
        keywords |= {"values": values, "column_values": values, "is_update": change.is_update}
    for receiver in receivers:
        schema = receiver.options.schema
        # In the JSON form, as in a worker: a schema must not fit in one place only.
        shown = instance if schema is None else read_by(schema, loads(dumps(row)))
        of_receiver = {**keywords, "model_instance": shown}
        await model.signals[name].deliver([receiver], model.sender, shown, of_receiver)


def intent_of(model: MappedModel, action: str, target: Value) -> Intent:
    """Return the operation of a flush on an object, as the object is now."""
    values = current(model, target)
    written: Values = values
    if action == UPDATE:
        written = {name: values[name] for name in assigned(model, target) if name in values}
    elif action == DELETE:
        written = {}
    parts = identity(target)
    # A new object has no key before its INSERT, unless the application gives the key.
    key = model.key_of(dict(zip(model.keys, parts, strict=True))) if parts else None
    return Intent(model, action, target, written, key, values)
