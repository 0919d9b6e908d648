"""Signals, receivers and their contract, and delivery in this process."""

from edgy_bus.errors import SignalError, SkipOperation
from edgy_bus.signals.broadcaster import Broadcaster
from edgy_bus.signals.contracts import fitted, read_by
from edgy_bus.signals.decorators import (
    DESCRIPTION,
    post_delete,
    post_save,
    post_update,
    pre_delete,
    pre_save,
    pre_update,
)
from edgy_bus.signals.keywords import (
    BUILT_IN,
    BUILT_IN_KEYWORDS,
    CUSTOM_KEYWORDS,
    POST_SIGNALS,
    PRE_SIGNALS,
    complete_keywords,
    is_built_in,
)
from edgy_bus.signals.options import Batch, Breaker, Inbox, NameKeywords, OnExhausted, Options
from edgy_bus.signals.patterns import matches, misspelt, unmatched
from edgy_bus.signals.receiver import Receiver, ReceiverFunction, check, check_fits
from edgy_bus.signals.signal import Fields, Route, Signal, check_before, refuse_namesake
from edgy_bus.signals.spelling import resembling, suggestion

__all__ = [
    "BUILT_IN",
    "BUILT_IN_KEYWORDS",
    "CUSTOM_KEYWORDS",
    "DESCRIPTION",
    "POST_SIGNALS",
    "PRE_SIGNALS",
    "Batch",
    "Breaker",
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
    "check_before",
    "check_fits",
    "complete_keywords",
    "fitted",
    "is_built_in",
    "matches",
    "misspelt",
    "post_delete",
    "post_save",
    "post_update",
    "pre_delete",
    "pre_save",
    "pre_update",
    "read_by",
    "refuse_namesake",
    "resembling",
    "suggestion",
    "unmatched",
]
