"""Signals, receivers and their contract, and delivery in this process."""

from edgy_bus.errors import SignalError, SkipOperation
from edgy_bus.signals.broadcaster import BUILT_IN, POST_SIGNALS, PRE_SIGNALS, Broadcaster
from edgy_bus.signals.decorators import (
    post_delete,
    post_save,
    post_update,
    pre_delete,
    pre_save,
    pre_update,
)
from edgy_bus.signals.receiver import Batch, Inbox, OnExhausted, Options, Receiver, ReceiverFunction
from edgy_bus.signals.signal import Route, Signal

__all__ = [
    "BUILT_IN",
    "POST_SIGNALS",
    "PRE_SIGNALS",
    "Batch",
    "Broadcaster",
    "Inbox",
    "OnExhausted",
    "Options",
    "Receiver",
    "ReceiverFunction",
    "Route",
    "Signal",
    "SignalError",
    "SkipOperation",
    "post_delete",
    "post_save",
    "post_update",
    "pre_delete",
    "pre_save",
    "pre_update",
]
