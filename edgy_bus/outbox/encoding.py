"""The making of events: the place that encodes `data`, and checks the size of every event.

`single_statement` makes the event of a single row inside PostgreSQL, with the same result.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from edgy_bus.codec import dumps, key_text, stored_context
from edgy_bus.errors import EventError, EventTooLarge, OperationError
from edgy_bus.events import Event, new_event_id, now, partition_name
from edgy_bus.origin import current_origin
from edgy_bus.outbox.smaller_data import smaller_data, without_large_fields
from edgy_bus.settings import EventSettings
from edgy_bus.sources import Instance, RowChange, SourceModel, Values, changes_of, is_computed
from edgy_bus.telemetry import current_traceparent

EventRow = dict[str, Any]
"""A row of the outbox, without the id and the time that the database adds."""


REPEATS = "post_save"
"""The signal of events that repeat rows."""


class Stamp(NamedTuple):
    """The time, the trace and the origin of events: the same for all events of a call."""

    time: str
    traceparent: str | None
    causation: str | None
    context: str | None


def stamp(*, backfill: bool = False) -> Stamp:
    """Return the stamp of events that are written now; `backfill` marks events that repeat rows."""
    origin = current_origin()
    context = stored_context(origin.context, backfill=backfill)
    return Stamp(now().isoformat(), current_traceparent(), origin.causation, context)


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
        return [self._changed(model, signal, change, stamped) for change in changes]

    def repeated(
        self, model: SourceModel, rows: Iterable[RowChange], to: str
    ) -> Iterator[EventRow]:
        """Yield the event of each row that exists, as if the row had just been created.

        Args:
            model: the model of the rows.
            rows: the rows; nobody knows their old values.
            to: the receiver that the events are addressed to, as GROUP/RECEIVER.
        """
        stamped = stamp(backfill=True)
        for row in rows:
            yield {**self._repeated(model, row, stamped), "to": to}

    def _repeated(self, model: SourceModel, row: RowChange, stamped: Stamp) -> EventRow:
        subject = key_text(row.key)
        data = _data(REPEATS, _stored(row, model), model.public)
        with suppress(EventTooLarge):
            return self._row(model, REPEATS, subject, data, stamped)
        # There is no operation that the error could refuse: the row is too large already.
        smaller = without_large_fields(data, self.settings.max_bytes)
        return self._row(model, REPEATS, subject, smaller, stamped)

    def _changed(
        self, model: SourceModel, signal: str, change: RowChange, stamped: Stamp
    ) -> EventRow:
        """Return the event of a changed row; an event over the limit leaves parts out.

        Raises:
            EventError: for a row that is over the limit, and was not before the change.
        """
        subject, stored = key_text(change.key), _stored(change, model)
        try:
            data = _data(signal, stored, model.public)
            return self._row(model, signal, subject, data, stamped)
        except EventTooLarge:
            for smaller in smaller_data(data, signal, self.settings.max_bytes):
                with suppress(EventTooLarge):
                    return self._row(model, signal, subject, smaller, stamped)
            raise

    def set_event(
        self, model: SourceModel, signal: str, values: Values, row_count: int, *, is_update: bool
    ) -> EventRow:
        """Return the only event of a changed set."""
        public = model.stored(_known(model.public, values))
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
            data["instance"] = model.stored(instance.snapshot())
        return self._row(model, signal, subject, data, stamp())

    def announcement(
        self,
        model: SourceModel,
        signal: str,
        instance: Instance | None,
        values: Values | None,
        *,
        is_update: bool | None = None,
    ) -> Event:
        """Return the event of an operation that is about to happen."""
        # The values are copied now: receivers may change the instance before the event is sent.
        data: dict[str, object] = {"values": None, "is_update": is_update}
        subject = None
        if values is not None:
            data["values"] = _stored_if_valid(model, _known(model.public, values))
        if instance is not None:
            data["instance"] = _stored_if_valid(model, instance.snapshot())
            # A new row has no key yet.
            subject = None if instance.pk is None else key_text(instance.pk)
        origin = current_origin()
        return Event(
            id=new_event_id(),
            source=self.service,
            model=self.model_name(model),
            signal=signal,
            subject=subject,
            time=now(),
            data=data,
            traceparent=current_traceparent(),
            causation=origin.causation,
            context=origin.context,
        )

    def too_large(
        self,
        model: SourceModel,
        signal: str,
        *,
        subject: str | None = None,
        size: int | None = None,
    ) -> EventTooLarge:
        """Return the error of an event that is larger than the limit."""
        row = "" if subject is None else f" of {subject!r}"
        # PostgreSQL does not return the size of an event that it refuses.
        measured = "more" if size is None else f"{size:,} bytes, more"
        return EventTooLarge(
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
            "causation": stamped.causation,
            "context": stamped.context,
            "data": raw.decode(),
        }


def _stored(change: RowChange, model: SourceModel) -> RowChange:
    """Return the change of the public fields, with values in the form of their columns."""
    # PostgreSQL compares the same values: different objects may be equal in a column.
    row = model.stored(_only(model.public, change.row))
    old = None if change.old is None else model.stored(_only(model.public, change.old))
    return change._replace(row=row, old=old)


def _data(signal: str, change: RowChange, public: Sequence[str]) -> dict[str, object]:
    data: dict[str, object] = {"instance": change.row, "is_update": change.is_update}
    # A save assigns all fields. Their values stand in the instance, so that names are enough.
    if signal == "post_update" and change.is_update:
        assigned = public if change.assigned is None else change.assigned
        data["assigned"] = [name for name in assigned if name in public]
    changes = changes_of(change, public)
    if changes is not None:
        data["changes"] = changes
    return data


def _known(public: Sequence[str], values: Values) -> Values:
    """Return the public values, without those that only the database can compute."""
    allowed = _only(public, values)
    return {name: value for name, value in allowed.items() if not is_computed(value)}


def _only(public: Sequence[str], values: Values) -> Values:
    # A source that loads rows in part has no value for some fields.
    return {name: values[name] for name in public if name in values}


def _stored_if_valid(model: SourceModel, values: Values) -> Values:
    # An announcement never fails. A value that was not validated is encoded as it is, or the codec
    # refuses the event, which is dropped and counted.
    try:
        return model.stored(values)
    except OperationError:
        return values
