"""The seam for tracing: the places that a trace should show ask for spans, if anybody makes spans.

Core code knows no tracing library. `observability.tracing` makes the spans of OpenTelemetry.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol


class Failure(NamedTuple):
    """Why a call failed.

    Attributes:
        reason: one line, as dead letters keep it.
        error: the receiver's error, if there is one.
    """

    reason: str
    error: BaseException | None = None


class Traced(NamedTuple):
    """What a call of a receiver has to do with an event.

    Attributes:
        id: the event's id.
        traceparent: the W3C trace context of the operation; None if the publisher did not trace.
    """

    id: str
    traceparent: str | None


class Call(NamedTuple):
    """A call of a receiver.

    Attributes:
        model: the model with its service.
        signal: the signal.
        group: the group of the receiver.
        receiver: the durable name of the receiver.
        events: the events of the call, one or a batch.
    """

    model: str
    signal: str
    group: str
    receiver: str
    events: Sequence[Traced]


class CallSpan(Protocol):
    """The span of a call that is going on."""

    def end(self, outcome: str, failure: Failure | None = None) -> None:
        """End the span with a word for the outcome, and with the reason of a failure."""


class Spans(Protocol):
    """Makes spans. No method raises."""

    def operation(self, model: str, signal: str) -> AbstractContextManager[object] | None:
        """Begin the span of an operation that writes events; None if the caller has no trace.

        The events carry the context of the span that is current when they are written.
        """

    def refuses(self, traceparent: str | None) -> bool:
        """Return whether the publisher has decided against the trace of an event.

        The running context carries the decision on. Asked before `call`, which costs more.
        """

    def call(self, call: Call) -> CallSpan | None:
        """Begin the span of a call, and make it current in the running context.

        The caller gives each call a context of its own. None: every publisher of a batch has
        decided against its trace.
        """

    def append(
        self, model: str, partition: str, traceparents: Sequence[str | None]
    ) -> AbstractContextManager[object] | None:
        """Begin the span in which a relay appends events to a stream; None without traces."""


_makers: list[Spans] = []


def spans() -> Spans | None:
    """Return what makes spans now; None, nearly always, if nobody does."""
    return _makers[-1] if _makers else None


def make_spans(maker: Spans) -> Callable[[], None]:
    """Let `maker` make the spans of this process from now on; return a function that ends that."""
    _makers.append(maker)

    def stop() -> None:
        if maker in _makers:
            _makers.remove(maker)

    return stop
