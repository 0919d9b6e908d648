"""Make the keywords of a receiver from an event; `signals.keywords` lists them.

A receiver of a model class gets values of the types of its fields, as in the process of the
operation. A receiver by name gets the values of the event's JSON.
"""

from collections.abc import Mapping
from typing import Any

from edgy_bus.events import Event
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.signals import BUILT_IN, POST_SIGNALS, complete_keywords, fitted

_Values = Mapping[str, Any]

_KINDS: Mapping[str, tuple[bool, bool]] = {
    signal: (signal in POST_SIGNALS, signal.endswith("_delete")) for signal in BUILT_IN
}
"""Whether a built-in signal comes after its operation, and whether the operation deletes."""

_PLAIN = frozenset({str, int, float, bool})
"""Types of JSON values without parts."""


def keywords_of(subscription: Subscription, event: Event, instance: Any) -> dict[str, Any]:
    """Return the keywords of a receiver of single events, with None for missing values.

    Raises:
        ContractError: if a value of the event does not fit its field; no attempt can succeed.
    """
    data = event.data
    kind = _KINDS.get(event.signal)
    if kind is None or "kwargs" in data:
        return _sent_keywords(event, instance)
    after, deletes = kind
    values = None if deletes else _values(subscription, event, instance)
    changes = data.get("changes")
    if changes and subscription.typed:
        changes = _typed_changes(subscription, changes, instance)
    return {
        "instance": instance,
        "model_instance": instance,
        "values": values,
        "column_values": values,
        "is_update": None if deletes else data.get("is_update"),
        "changes": changes,
        "row_count": data.get("row_count", 1) if after else None,
        "operation_skipped": False if after else None,
        "keys": None,
        "event": event,
    }


def _sent_keywords(event: Event, instance: Any) -> dict[str, Any]:
    """Return the keywords of a signal that the application sent."""
    ours = {"instance": instance, "model_instance": instance, "event": event}
    # The application's keywords come from the publisher, and must not replace these.
    return complete_keywords(event.signal, {**(event.data.get("kwargs") or {}), **ours})


def _values(subscription: Subscription, event: Event, instance: Any) -> _Values | None:
    """Return the values that an operation wrote, or is about to write; None if nobody knows."""
    data = event.data
    row = data.get("instance")
    if row is None or event.signal.startswith("pre_"):
        values: _Values | None = data.get("values")
        return _typed(subscription, values) if values and subscription.typed else values
    # A save writes the whole row. Events of older releases do not name the fields of an update.
    names = row if event.signal == "post_save" else data.get("assigned")
    if names is None:
        return None
    read = getattr(instance, "__dict__", row) if subscription.typed else row
    if names is row and (read is row or read.keys() == row.keys()):  # nearly every event
        return dict(read)
    # An event may leave out a field that it names, for example because its value is too large.
    return {name: read.get(name, row[name]) for name in names if name in row}


def _typed_changes(
    subscription: Subscription, changes: Mapping[str, _Values], instance: Any
) -> Mapping[str, _Values]:
    """Return changes with the types of the fields."""
    read = getattr(instance, "__dict__", {})
    # A plain value of the field's type needs no reading, and most values are like that.
    differing = [
        name
        for name, change in changes.items()
        if type(change["new"]) not in _PLAIN or type(change["new"]) is not type(read.get(name))
    ]
    if not differing:
        return changes
    old = {name: changes[name]["old"] for name in differing if "old" in changes[name]}
    new = {name: changes[name]["new"] for name in differing}
    typed = {"old": _typed(subscription, old), "new": _typed(subscription, new)}
    return {
        name: {when: typed[when][name] for when in change} if name in new else change
        for name, change in changes.items()
    }


def _typed(subscription: Subscription, values: _Values) -> _Values:
    """Return values of some fields with the types of the fields."""
    instance = fitted(subscription.read, values, subscription.model, "a value")
    read = getattr(instance, "__dict__", values)
    return {name: read.get(name, value) for name, value in values.items()}
