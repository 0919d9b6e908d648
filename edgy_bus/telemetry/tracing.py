"""The caller's trace, read through OpenTelemetry's API where that package is installed."""

try:
    from opentelemetry.trace import get_current_span
except ImportError:  # the package is optional: without OpenTelemetry, events carry no trace

    def current_traceparent() -> str | None:
        """Return None: OpenTelemetry is not installed."""
        return None

else:

    def current_traceparent() -> str | None:
        """Return the current span as a `traceparent` header; None outside of any span.

        The format is that of https://www.w3.org/TR/trace-context/#traceparent-header, version 00.
        """
        span = get_current_span().get_span_context()
        if not span.is_valid:
            return None
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
