"""Describes the receivers of a worker, for the list that a worker writes when it starts."""

from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass

from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.signals import Options
from edgy_bus.telemetry import catalogue

_SHOWN_ELSEWHERE = ("name", "group")


def listed(subscription: Subscription) -> catalogue.ReceiverListed:
    """Return the line of a receiver: its name, signal and group, and its unusual options."""
    options = subscription.receiver.options
    return catalogue.ReceiverListed(
        group=subscription.group,
        receiver=subscription.name,
        model=subscription.model,
        signal=subscription.signal,
        options=", ".join(filter(None, (_function(subscription), unusual(options)))),
    )


def _function(subscription: Subscription) -> str:
    """Return the name of a renamed receiver in this program; empty if it was not renamed."""
    return f"renamed to {subscription.receiver.name}" if subscription.former else ""


def unusual(options: Options) -> str:
    """Return the options that differ from their defaults, as they are written in a program."""
    return ", ".join(
        f"{option.name}={_shown(value)}"
        for option, value in _differences(options)
        if option.name not in _SHOWN_ELSEWHERE
    )


def _differences(value: object) -> "Iterator[tuple[Field[object], object]]":
    if is_dataclass(value):
        for each in fields(value):
            if getattr(value, each.name) != each.default:
                yield each, getattr(value, each.name)


def _shown(value: object) -> str:
    if value is None or isinstance(value, bool | int | float | str | tuple):
        return repr(value)
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str):
        return name  # a function, or the class of a schema
    # Of a database only its kind: its URL contains a password.
    kind = type(value).__name__
    parts = ", ".join(f"{each.name}={_shown(part)}" for each, part in _differences(value))
    return f"{kind}({parts})" if is_dataclass(value) else kind
