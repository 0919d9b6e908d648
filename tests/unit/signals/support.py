"""Signals that a test sends."""

from edgy_bus.signals import Signal


def declared() -> Signal:
    """Return a signal as the assignment to a model declares it: with a name."""
    signal = Signal()
    signal.bind("on_test", None)
    return signal
