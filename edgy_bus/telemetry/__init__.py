"""Report the work of the library: typed notices and measurements, and those who receive them.

Core code calls `emit` with an entry of the catalogue, and `measure` with measurements. Logging,
metrics and tracing are listeners. Core code knows no listener.
"""

from edgy_bus.telemetry import catalogue, measurements
from edgy_bus.telemetry.listening import Listener, emit, listen
from edgy_bus.telemetry.measuring import (
    Distribution,
    Gauge,
    Histogram,
    Measurement,
    Metric,
    collect,
    is_measured,
    measure,
)
from edgy_bus.telemetry.notice import Counter, Notice
from edgy_bus.telemetry.spans import Call, CallSpan, Failure, Spans, Traced, make_spans, spans
from edgy_bus.telemetry.tracing import current_traceparent

__all__ = [
    "Call",
    "CallSpan",
    "Counter",
    "Distribution",
    "Failure",
    "Gauge",
    "Histogram",
    "Listener",
    "Measurement",
    "Metric",
    "Notice",
    "Spans",
    "Traced",
    "catalogue",
    "collect",
    "current_traceparent",
    "emit",
    "is_measured",
    "listen",
    "make_spans",
    "measure",
    "measurements",
    "spans",
]
