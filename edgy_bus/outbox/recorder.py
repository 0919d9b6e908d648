"""Writes the event of an operation in the operation's own transaction: both happen, or neither."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from edgy_bus.codec import dumps, key_text
from edgy_bus.database import Database, Row
from edgy_bus.errors import DatabaseError, EventError
from edgy_bus.events import Event, new_event_id, now, partition_name
from edgy_bus.models import Model, Plan, run_plan, with_old_rows
from edgy_bus.outbox.announcer import Announcer
from edgy_bus.outbox.combined import Kind, parameters_of, recordable, with_event
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.settings import EventSettings

Publishes = Callable[[type[Model], str], bool]
"""Whether a model's signal goes to the broker."""


class OutboxRecorder:
    """The recorder of a registry whose bus has a broker; it takes the place of the local one.

    The outbox id of an event is assigned while the transaction holds the lock of its row, so it rises from event to event of
    a row: it is the event's `sequence`.
    """

    def __init__(
        self,
        *,
        store: OutboxStore,
        service: str,
        settings: EventSettings,
        publishes: Publishes,
        announcer: Announcer,
        ring: Callable[[], None],
    ) -> None:
        self._store = store
        self._service = service
        self._settings = settings
        self._publishes = publishes
        self._announcer = announcer
        self._ring = ring

    def records(self, model: type[Model], signal: str) -> bool:
        return self._publishes(model, signal)

    async def run(self, database: Database, plan: Plan) -> list[Row]:
        """Run a plan, and write an event for every row that it affected. Raises `EventError` for one that is too large."""
        if not self.records(plan.model, plan.signal):
            return await run_plan(database, plan)
        if self._in_one(database, plan):
            return await self._run_in_one(database, plan)
        async with database.transaction():
            plan = await with_old_rows(database, plan)
            rows = await run_plan(database, plan)
            if rows:
                await self._store.append(self._events(plan, rows))
                database.on_commit(self._ring)
        return rows

    def _in_one(self, database: Database, plan: Plan) -> bool:
        """Whether the row and its event can be written by one statement."""
        meta = plan.model.meta
        return (
            database.dialect.name == "postgresql"
            and len(plan.steps) == 1
            and plan.steps[0][1] is not None
            and recordable(meta.table, meta.pk, meta.public)
        )

    async def _run_in_one(self, database: Database, plan: Plan) -> list[Row]:
        meta, (statement, values) = plan.model.meta, plan.steps[0]
        rest: dict[str, Any] = {"is_update": plan.is_update}
        changes = plan.changes_of(values or {})
        if changes is not None:
            rest["changes"] = changes
        fixed = {
            "event_id": new_event_id(),
            "time": now().isoformat(),
            "created": time.time_ns() // 1_000_000,
            "rest": "," + dumps(rest)[1:].decode(),
        }
        kind = Kind(
            meta.table,
            meta.pk,
            meta.public,
            self._model_name(plan.model),
            plan.signal,
            self._settings.partitions,
            self._settings.max_bytes,
        )
        combined = with_event(statement, tuple(values or ()), kind)
        try:
            rows = (await database.run(combined, parameters_of(values, fixed))).rows
        except DatabaseError as error:
            if "division by zero" not in str(error):
                raise
            raise EventError(self._too_large(plan.model, plan.signal)) from error
        if not rows:
            return rows
        if database.in_transaction:
            database.on_commit(self._ring)
        else:
            self._ring()
        return rows

    async def send(
        self, model: type[Model], signal: str, instance: Any, kwargs: Mapping[str, Any]
    ) -> None:
        """Write the event of a signal that somebody sends, in the open transaction or in one of its own."""
        database = self._store.database
        data: dict[str, Any] = {"kwargs": dict(kwargs)}
        subject = None
        async with database.transaction():
            if isinstance(instance, Model):
                data["instance"] = instance.snapshot()
                # Without the row's lock, the number of this event would say nothing about its place among the row's others.
                if await self._lock(database, model, instance.pk):
                    subject = key_text(instance.pk)
            await self._store.append([self._row(model, signal, subject, data)])
            database.on_commit(self._ring)

    def announce(
        self, model: type[Model], signal: str, instance: Any, values: Mapping[str, Any]
    ) -> None:
        if self.records(model, signal):
            self._announcer.put(lambda: self._announcement(model, signal, instance, values))

    def _announcement(
        self, model: type[Model], signal: str, instance: Any, values: Mapping[str, Any]
    ) -> Event:
        data: dict[str, Any] = {
            "values": model.meta.public_row(values) if isinstance(values, Mapping) else None
        }
        subject = None
        if isinstance(instance, Model):
            data["instance"] = instance.snapshot()
            subject = None if instance.pk is None else key_text(instance.pk)
        return Event(
            id=new_event_id(),
            source=self._service,
            model=self._model_name(model),
            signal=signal,
            subject=subject,
            time=now(),
            data=data,
        )

    async def _lock(self, database: Database, model: type[Model], key: Any) -> bool:
        table = model.meta.table
        column = table.c[model.meta.pk]
        # SQLite's transactions hold the lock of the whole file; there, FOR UPDATE compiles to nothing.
        return bool(
            (await database.run(select(column).where(column == key).with_for_update())).rows
        )

    def _events(self, plan: Plan, rows: Sequence[Row]) -> list[dict[str, Any]]:
        if plan.whole is None:
            return [self._event(plan, row) for row in rows]
        data = {"values": plan.whole, "row_count": len(rows), "is_update": plan.is_update}
        return [self._row(plan.model, plan.signal, None, data)]

    def _event(self, plan: Plan, row: Row) -> dict[str, Any]:
        change = plan.change(row)
        data: dict[str, Any] = {"instance": change.row, "is_update": plan.is_update}
        if change.changes is not None:
            data["changes"] = change.changes
        return self._row(plan.model, plan.signal, key_text(change.key), data)

    def _row(
        self, model: type[Model], signal: str, subject: str | None, data: Mapping[str, Any]
    ) -> dict[str, Any]:
        name = self._model_name(model)
        try:
            raw = dumps(data)
        except EventError as error:
            raise EventError(f"the event {name}.{signal} of {subject!r} {error}") from error
        if len(raw) > self._settings.max_bytes:
            raise EventError(self._too_large(model, signal, subject, len(raw)))
        event_id = new_event_id()
        return {
            "model": name,
            "label": partition_name(subject, event_id, self._settings.partitions),
            "event_id": event_id,
            "signal": signal,
            "subject": subject,
            "time": now().isoformat(),
            "traceparent": None,
            "data": raw.decode(),
            "created": time.time_ns() // 1_000_000,
        }

    def _too_large(
        self, model: type[Model], signal: str, subject: str | None = None, size: int | None = None
    ) -> str:
        which = "" if subject is None else f" of {subject!r}"
        has = "has more" if size is None else f"has {size:,} bytes, more"
        return (
            f"the event {self._model_name(model)}.{signal}{which} {has} than the {self._settings.max_bytes:,} bytes of "
            "EventSettings(max_bytes=…); keep large fields out of events with secret=True"
        )

    def _model_name(self, model: type[Model]) -> str:
        return f"{self._service}.{model.meta.name}"
