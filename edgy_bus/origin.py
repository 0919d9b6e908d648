"""Hold where the events of the running code come from: who acts, and which event is being handled.

Both are in a context variable, so that they follow the code into tasks that it starts. The writer
of events reads the variable; nothing is passed through the operations of models.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from edgy_bus.codec import check_context
from edgy_bus.events import NO_CONTEXT, ContextValue, Event


class Origin(NamedTuple):
    """Where an event comes from.

    Attributes:
        causation: the id of the event whose receiver is running; None outside of receivers.
        context: who acts, as the application described it.
    """

    causation: str | None = None
    context: Mapping[str, ContextValue] = NO_CONTEXT


_NOBODY = Origin()
_origin: ContextVar[Origin] = ContextVar("edgy_bus_origin", default=_NOBODY)


def current_origin() -> Origin:
    """Return the origin of events that are written now."""
    return _origin.get()


def handle(event: Event) -> None:
    """Let what the running context writes be caused by an event, and inherit its context."""
    _origin.set(Origin(event.id, event.context))


def handle_batch(events: Sequence[Event]) -> None:
    """Let what the running context writes inherit the context that all of these events share.

    Nobody knows which event of a batch causes a write, so the write names no cause, unless the
    event is alone.
    """
    first = events[0]
    if len(events) == 1:
        handle(first)
        return
    shared = all(event.context == first.context for event in events)
    _origin.set(Origin(None, first.context if shared else NO_CONTEXT))


@contextmanager
def context(**values: ContextValue) -> Iterator[None]:
    """Describe who acts, in every event that is written inside of the `with` block.

    `with bus.context(actor="ada", request_id="…"):` Receivers in workers read `event.context`, and
    what they write inherits the context. An inner block adds to the outer block. A context has at
    most 1,024 bytes as JSON, and is no place for secrets.

    Raises:
        EventError: for values that an event cannot carry.
    """
    outer = _origin.get()
    inner = {**outer.context, **values}
    check_context(inner)
    token = _origin.set(outer._replace(context=inner))
    try:
        yield
    finally:
        _origin.reset(token)
