"""Spans of OpenTelemetry: one trace from a request to the receivers of what it has changed.

A span of kind PRODUCER for each operation that writes events; its context travels with the events.
A span of kind CONSUMER for each call of a receiver, as a child of the operation's span, also in
another service. What a receiver writes continues the trace. A batch has no single parent, and links
to the operations instead; so does the span in which a relay appends events to a stream.

A decision against a trace is made once, by whoever begins the trace. Nothing here asks the SDK
about such a trace again: the operation passes the context of the caller on, and a call carries it.

Names of spans and attributes are those of OpenTelemetry's semantic conventions for messaging,
version 1.30.0: https://github.com/open-telemetry/semantic-conventions/blob/v1.30.0/docs/messaging
"""

import functools
from collections.abc import Callable, Sequence
from contextvars import Token
from importlib.metadata import version
from types import TracebackType
from typing import Any, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TracerProvider,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from edgy_bus import telemetry
from edgy_bus.reasons import describe, trace_of
from edgy_bus.telemetry import Call, Failure, catalogue

SCHEMA = "https://opentelemetry.io/schemas/1.30.0"
"""The version of the conventions, as the tracer reports it."""

MOST_LINKS = 128
"""Links of a span: OpenTelemetry's own limit, beyond which an SDK drops links."""

_SAMPLED = 1
"""The bit in the flags of a W3C trace context that says that the caller may keep the trace."""

_REFUSED = "-00"
"""The end of a W3C trace context, in its usual form, of a caller that does not keep the trace."""

_NOTHING = Context()
_EXTRACT = TraceContextTextMapPropagator().extract

Attributes = dict[str, str | int]
T = TypeVar("T")


def _guarded(method: Callable[..., T]) -> Callable[..., T | None]:
    """Let an error of the SDK, or of a processor of spans, stop nothing: there is no span then."""

    @functools.wraps(method)
    def call(self: "OpenTelemetrySpans | OpenTelemetrySpan", *args: Any) -> T | None:
        try:
            return method(self, *args)
        except Exception as error:  # noqa: BLE001 - processors are the application's
            self.report(error)
            return None

    return call


class OpenTelemetrySpans:
    """Makes the spans of a process."""

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        # `get_tracer` of the API takes the provider that is set for the process, also later.
        self._tracer = trace.get_tracer(
            "edgy_bus", version("edgy_bus"), tracer_provider, schema_url=SCHEMA
        )
        self._is_reported = False

    def report(self, error: Exception) -> None:
        """Report an error, once: it would come with every event."""
        if not self._is_reported:
            self._is_reported = True
            telemetry.emit(catalogue.TracingFailed(error=describe(error)))

    @_guarded
    def operation(self, model: str, signal: str) -> "OpenTelemetrySpan | None":
        # Without a caller that traces, or with one that has decided against this trace, the events
        # carry what the caller has: nothing, or the decision.
        if not _is_sampled(get_current_span().get_span_context()):
            return None
        attributes = _attributes("create", model) | {"edgy_bus.signal": signal}
        kind = SpanKind.PRODUCER
        return self._begin(f"create {model}", kind, attributes, get_current())

    def refuses(self, traceparent: str | None) -> bool:
        if traceparent is None or not _is_refused(traceparent):
            return False
        # What the receiver calls and writes keeps the decision.
        attach(set_span_in_context(_Refused(traceparent), _NOTHING))
        return True

    @_guarded
    def call(self, call: Call) -> "OpenTelemetrySpan | None":
        contexts = [_remote(event.traceparent) for event in call.events]
        origins = [_origin(each) for each in contexts]
        traced = [origin for origin in origins if origin.is_valid]
        sampled = [origin for origin in traced if _is_sampled(origin)]
        is_batch = len(contexts) > 1
        if traced and not sampled:
            if not is_batch:
                # What the receiver calls and writes keeps the decision.
                attach(contexts[0])
            return None
        parent = _NOTHING if is_batch else contexts[0]
        kind = SpanKind.CONSUMER
        links = sampled if is_batch else []
        return self._begin(f"process {call.model}", kind, _of_call(call), parent, links)

    @_guarded
    def append(
        self, model: str, partition: str, traceparents: Sequence[str | None]
    ) -> "OpenTelemetrySpan | None":
        traced = [each for each in dict.fromkeys(traceparents) if each and not _is_refused(each)]
        origins = [_origin(_remote(each)) for each in traced]
        sampled = [origin for origin in origins if _is_sampled(origin)]
        if not sampled:
            return None
        attributes = _attributes("send", model) | {
            "messaging.destination.partition.id": partition,
            "messaging.batch.message_count": len(traceparents),
        }
        kind = SpanKind.CLIENT
        return self._begin(f"send {model}", kind, attributes, _NOTHING, sampled)

    def _begin(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        parent: Context,
        linked: Sequence[SpanContext] = (),
    ) -> "OpenTelemetrySpan":
        links = [Link(each) for each in linked[:MOST_LINKS]]
        span = self._tracer.start_span(name, parent, kind, attributes, links)
        token = attach(set_span_in_context(span, parent))
        return OpenTelemetrySpan(span, self, token)


class OpenTelemetrySpan:
    """A span that is current in the context in which it began."""

    def __init__(
        self,
        span: Span,
        maker: OpenTelemetrySpans,
        token: Token[Context],
    ) -> None:
        self._span = span
        self._maker = maker
        self._token = token

    def report(self, error: Exception) -> None:
        """Report an error, once."""
        self._maker.report(error)

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        detach(self._token)
        self._end_block(kind)

    @_guarded
    def _end_block(self, kind: type[BaseException] | None) -> None:
        if kind is not None:
            # No text: an error of a database may contain values of the row.
            self._span.set_attribute("error.type", kind.__qualname__)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()

    @_guarded
    def end(self, outcome: str, failure: Failure | None = None) -> None:
        """End the span of a call. The call's context ends with the call, with its current span."""
        self._span.set_attribute("edgy_bus.outcome", outcome)
        if failure is not None:
            self._record(failure)
        self._span.end()

    def _record(self, failure: Failure) -> None:
        error = failure.error
        self._span.set_status(StatusCode.ERROR, failure.reason)
        kind = "_OTHER" if error is None else type(error).__qualname__
        self._span.set_attribute("error.type", kind)
        if error is not None:
            # As in the log: of bounded length, and also for an error whose text cannot be made.
            described = {"exception.type": kind, "exception.message": failure.reason}
            trace = {"exception.stacktrace": trace_of(error)}
            self._span.add_event("exception", described | trace)


class _Refused(NonRecordingSpan):
    """The span of a trace that nobody keeps, read from the event only if somebody asks for it."""

    def __init__(self, traceparent: str) -> None:
        # Not `super().__init__`, which takes what costs the time.
        self._traceparent = traceparent

    def get_span_context(self) -> SpanContext:
        return _origin(_remote(self._traceparent))


def _remote(traceparent: str | None) -> Context:
    """Return the context of an operation, by the W3C header that its events carry."""
    return _NOTHING if traceparent is None else _EXTRACT({"traceparent": traceparent}, _NOTHING)


def _origin(context: Context) -> SpanContext:
    return get_current_span(context).get_span_context()


def _is_refused(traceparent: str) -> bool:
    """Return whether a header refuses its trace for sure, without reading the header."""
    return traceparent.endswith(_REFUSED)


def _is_sampled(origin: SpanContext) -> bool:
    return bool(origin.trace_flags & _SAMPLED)


def _attributes(operation: str, model: str) -> Attributes:
    return {
        "messaging.system": "edgy_bus",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": model,
    }


def _of_call(call: Call) -> Attributes:
    attributes = _attributes("process", call.model) | {
        "messaging.consumer.group.name": call.group,
        "edgy_bus.receiver": call.receiver,
        "edgy_bus.signal": call.signal,
    }
    if len(call.events) == 1:
        return attributes | {"messaging.message.id": call.events[0].id}
    return attributes | {"messaging.batch.message_count": len(call.events)}
