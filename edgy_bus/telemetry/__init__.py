"""Reports what the library does: typed notices, and listeners for them.

Core code calls `emit` with an entry of the catalogue; logging, metrics and tracing are listeners, so
core code knows none of them.
"""

from edgy_bus.telemetry import catalogue
from edgy_bus.telemetry.listening import Listener, emit, listen
from edgy_bus.telemetry.notice import Counter, Notice
from edgy_bus.telemetry.tracing import current_traceparent

__all__ = [
    "Counter",
    "Listener",
    "Notice",
    "catalogue",
    "current_traceparent",
    "emit",
    "listen",
]
