"""Report the work of the library: typed notices, and listeners for notices.

Core code calls `emit` with an entry of the catalogue. Logging, metrics and tracing are listeners.
Core code knows no listener.
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
