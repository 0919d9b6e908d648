"""Give calls of receivers a span, where somebody makes spans."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edgy_bus import telemetry
from edgy_bus.codec import Envelope
from edgy_bus.reasons import describe
from edgy_bus.retrying import Bury, RetryLater, Snooze
from edgy_bus.runtime.outcome import Done, Failed, Outcome, Untouched
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.telemetry import Call, CallSpan, Failure, Traced

_WORDS: dict[type[Outcome], str] = {
    Done: "done",
    Failed: "failed",
    RetryLater: "retry",
    Snooze: "snooze",
    Bury: "dead_letter",
    Untouched: "untouched",
}

_CANCELLED = Failure("the call was cancelled: it took too long, or its worker stops")


def begin_span(subscription: Subscription, envelopes: Sequence[Envelope]) -> CallSpan | None:
    """Begin the span of a call, current in the running context; None if nobody traces the call."""
    maker = telemetry.spans()
    if maker is None or (len(envelopes) == 1 and maker.refuses(envelopes[0].traceparent)):
        return None
    events = [Traced(envelope.id, envelope.traceparent) for envelope in envelopes]
    return maker.call(
        Call(
            subscription.model,
            subscription.signal,
            subscription.group,
            subscription.name,
            events,
        )
    )


@contextmanager
def batch_span(
    subscription: Subscription, envelopes: Sequence[Envelope]
) -> Iterator[list[Outcome]]:
    """Give the `with` block, which calls a receiver with a batch and adds the outcomes, a span."""
    span = begin_span(subscription, envelopes)
    outcomes: list[Outcome] = []
    try:
        yield outcomes
    except Exception as error:
        if span is not None:
            outcomes[:] = [Failed(describe(error), error)]
        raise
    finally:
        end_span(span, outcomes)


def end_span(span: CallSpan | None, outcomes: Sequence[Outcome]) -> None:
    """End the span of a call.

    The first event of a batch that was not handled decides about the span. Without outcomes, the
    call was cancelled.
    """
    if span is None:
        return
    if not outcomes:
        span.end("cancelled", _CANCELLED)
        return
    outcome = next((each for each in outcomes if not isinstance(each, Done)), outcomes[0])
    if isinstance(outcome, Done) and outcome.skipped:
        span.end("skipped")
    elif isinstance(outcome, Failed | Bury):
        span.end(_WORDS[type(outcome)], Failure(outcome.reason, outcome.error))
    else:
        span.end(_WORDS[type(outcome)])
