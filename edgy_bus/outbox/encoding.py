"""The making of events: the place that encodes `data`, and checks the size of every event.

`single_statement` makes the event of a single row inside PostgreSQL, with the same result.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from edgy_bus.codec import dumps, key_text
from edgy_bus.errors import EventError
from edgy_bus.events import Event, new_event_id, now, partition_name
from edgy_bus.settings import EventSettings
from edgy_bus.sources import Instance, RowChange, SourceModel, Values, changes_of
from edgy_bus.telemetry import current_traceparent

EventRow = dict[str, Any]
"""A row of the outbox, without the id that the database assigns."""


class Stamp(NamedTuple):
    """The time and the trace of events: the same for all events of a call."""

    time: str
    created: int
    traceparent: str | None


def stamp() -> Stamp:
    """Return the stamp of events that are written now."""
    return Stamp(now().isoformat(), time.time_ns() // 1_000_000, current_traceparent())


class EventEncoder:
    """Makes the events of a service from changes of rows."""

    def __init__(self, service: str, settings: EventSettings) -> None:
        self.service = service
        self.settings = settings

    def model_name(self, model: SourceModel) -> str:
        """Return the name under which other services know the model."""
        return f"{self.service}.{model.name}"

    def events(
        self, model: SourceModel, signal: str, changes: Iterable[RowChange]
    ) -> list[EventRow]:
        """Return an event for each changed row."""
        # Read the clock and the trace once, not for every row of a bulk.
        stamped = stamp()
        return [
            self._row(model, signal, key_text(change.key), _data(change, model.public), stamped)
            for change in changes
        ]

    def set_event(
        self, model: SourceModel, signal: str, values: Values, row_count: int, *, is_update: bool
    ) -> EventRow:
        """Return the only event of a changed set."""
        public = _only(model.public, values)
        data = {"values": public, "row_count": row_count, "is_update": is_update}
        return self._row(model, signal, None, data, stamp())

    def sent(
        self,
        model: SourceModel,
        signal: str,
        instance: Instance | None,
        kwargs: Values,
        *,
        subject: str | None,
    ) -> EventRow:
        """Return the event of a signal that the application sends."""
        data: dict[str, object] = {"kwargs": dict(kwargs)}
        if instance is not None:
            data["instance"] = instance.snapshot()
        return self._row(model, signal, subject, data, stamp())

    def announcement(
        self, model: SourceModel, signal: str, instance: Instance | None, values: Values | None
    ) -> Event:
        """Return the event of an operation that is about to happen."""
        # The values are copied now: receivers may change the instance before the event is sent.
        data: dict[str, object] = {"values": None}
        subject = None
        if values is not None:
            data["values"] = _only(model.public, values)
        if instance is not None:
            data["instance"] = instance.snapshot()
            # A new row has no key yet.
            subject = None if instance.pk is None else key_text(instance.pk)
        return Event(
            id=new_event_id(),
            source=self.service,
            model=self.model_name(model),
            signal=signal,
            subject=subject,
            time=now(),
            data=data,
            traceparent=current_traceparent(),
        )

    def too_large(
        self,
        model: SourceModel,
        signal: str,
        *,
        subject: str | None = None,
        size: int | None = None,
    ) -> EventError:
        """Return the error of an event that is larger than the limit."""
        row = "" if subject is None else f" of {subject!r}"
        # PostgreSQL does not return the size of an event that it refuses.
        measured = "more" if size is None else f"{size:,} bytes, more"
        return EventError(
            f"the event {self.model_name(model)}.{signal}{row} has {measured} than the "
            f"{self.settings.max_bytes:,} bytes of EventSettings(max_bytes=…); "
            "keep large fields out of events with secret=True"
        )

    def _row(
        self, model: SourceModel, signal: str, subject: str | None, data: Values, stamped: Stamp
    ) -> EventRow:
        name = self.model_name(model)
        try:
            raw = dumps(data)
        except EventError as error:
            raise EventError(f"the event {name}.{signal} of {subject!r} {error}") from error
        # Before the INSERT, in the transaction of the change: the error takes the change back.
        if len(raw) > self.settings.max_bytes:
            raise self.too_large(model, signal, subject=subject, size=len(raw))
        event_id = new_event_id()
        return {
            "model": name,
            "label": partition_name(subject, event_id, self.settings.partitions),
            "event_id": event_id,
            "source": self.service,
            "signal": signal,
            "subject": subject,
            "time": stamped.time,
            "traceparent": stamped.traceparent,
            "data": raw.decode(),
            "created": stamped.created,
        }


def _data(change: RowChange, public: Sequence[str]) -> Values:
    data: dict[str, object] = {
        "instance": _only(public, change.row),
        "is_update": change.is_update,
    }
    changes = changes_of(change, public)
    if changes is not None:
        data["changes"] = changes
    return data


def _only(public: Sequence[str], values: Values) -> Values:
    # A source that loads rows in part has no value for some fields.
    return {name: values[name] for name in public if name in values}
