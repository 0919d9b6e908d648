"""The keywords of receivers: the same names here and in workers.

A keyword without a value is None, so that a receiver need not know where it runs.
"""

from collections.abc import Mapping
from typing import Any

from edgy_bus.errors import SignalError

PRE_SIGNALS = ("pre_save", "pre_update", "pre_delete")
POST_SIGNALS = ("post_save", "post_update", "post_delete")
BUILT_IN = PRE_SIGNALS + POST_SIGNALS

BUILT_IN_KEYWORDS = (
    "instance",
    "model_instance",
    "values",
    "column_values",
    "is_update",
    "changes",
    "row_count",
    "operation_skipped",
    "keys",
    "event",
)
"""The keywords of every receiver of a built-in signal."""

CUSTOM_KEYWORDS = ("instance", "model_instance", "event")
"""The keywords of every receiver of a custom signal, beside those that the application sends."""

BATCH_KEYWORDS = ("instances", "events")
"""The keywords of every batch receiver."""

_BUILT_IN: frozenset[str] = frozenset(BUILT_IN)
_RESERVED = ("model_instance", "event", *BATCH_KEYWORDS)
_NO_VALUES: Mapping[str, Any] = dict.fromkeys(BUILT_IN_KEYWORDS)
_NO_CUSTOM_VALUES: Mapping[str, Any] = dict.fromkeys(CUSTOM_KEYWORDS)


def is_built_in(signal: str) -> bool:
    """Return whether a signal is one of the six that every model has."""
    return signal in _BUILT_IN


def complete_keywords(signal: str, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of a receiver of `signal`: those given, and None for the others."""
    return {**(_NO_VALUES if signal in _BUILT_IN else _NO_CUSTOM_VALUES), **keywords}


def check_sent(signal: str, keywords: Mapping[str, object]) -> None:
    """Check the keywords with which the application sends a signal.

    Raises:
        SignalError: for a keyword that receivers get from the library.
    """
    for name in _RESERVED:
        if name in keywords:
            raise SignalError(
                f"{signal or 'a signal'} cannot be sent with the keyword {name!r}, which receivers "
                "get from the library: choose another name"
            )


def sent(signal: str, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords with which the application sent a custom signal."""
    # In a worker, a batch receiver finds them in the data of each event.
    if signal in _BUILT_IN:
        return {}
    return {name: keywords[name] for name in keywords if name not in CUSTOM_KEYWORDS}
