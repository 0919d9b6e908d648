"""Signals, receivers and their contract, and delivery in this process."""

from edgy_bus.errors import SignalError, SkipOperation
from edgy_bus.signals.broadcaster import Broadcaster
from edgy_bus.signals.decorators import (
    post_delete,
    post_save,
    post_update,
    pre_delete,
    pre_save,
    pre_update,
)
from edgy_bus.signals.options import Batch, Inbox, NameKeywords, OnExhausted, Options
from edgy_bus.signals.receiver import Receiver, ReceiverFunction, check
from edgy_bus.signals.signal import (
    BUILT_IN,
    POST_SIGNALS,
    PRE_SIGNALS,
    Fields,
    Route,
    Signal,
)
from edgy_bus.signals.spelling import resembling, suggestion

__all__ = [
    "BUILT_IN",
    "POST_SIGNALS",
    "PRE_SIGNALS",
    "Batch",
    "Broadcaster",
    "Fields",
    "Inbox",
    "NameKeywords",
    "OnExhausted",
    "Options",
    "Receiver",
    "ReceiverFunction",
    "Route",
    "Signal",
    "SignalError",
    "SkipOperation",
    "check",
    "post_delete",
    "post_save",
    "post_update",
    "pre_delete",
    "pre_save",
    "pre_update",
    "resembling",
    "suggestion",
]
