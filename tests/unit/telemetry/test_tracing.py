"""The caller's trace reaches events where OpenTelemetry is installed."""

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from edgy_bus.telemetry import current_traceparent

SPAN = SpanContext(
    trace_id=0x4BF92F3577B34DA6A3CE929D0E0E4736,
    span_id=0x00F067AA0BA902B7,
    is_remote=False,
    trace_flags=TraceFlags(TraceFlags.SAMPLED),
)


def test_the_current_span_is_a_traceparent_header() -> None:
    with trace.use_span(NonRecordingSpan(SPAN)):
        assert current_traceparent() == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_outside_of_any_span_there_is_no_trace() -> None:
    assert current_traceparent() is None
