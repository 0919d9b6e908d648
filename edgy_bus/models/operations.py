"""The way of every model operation, and the seam at which a bus extends it.

An operation is a plan: statements that return the rows they affect. A recorder runs the plan, and may write what it likes in
the same transaction. Models know no more about the bus than this.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from edgy_bus.database import Database, Row
from edgy_bus.errors import SkipOperation
from edgy_bus.models.statements import Step
from edgy_bus.signals import Receiver, Signal

if TYPE_CHECKING:
    from edgy_bus.models.model import Model

PAGE = 1_000
"""Rows of a set that are in memory at a time."""

Changes = dict[str, dict[str, Any]]
"""Field name to `{"old": …, "new": …}`; `old` is missing where nobody knows it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an operation did to one row."""

    key: Any
    row: Row
    changes: Changes | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, and how to read what it returned.

    `assigned` are the fields that were set, or None when all of them were. `old` are the rows before, by key, as far as they
    are known; `before` is a statement that reads the others, for whoever needs to know. `paging` is how to do the same to a
    set of any size in bounded memory.
    """

    model: "type[Model]"
    signal: str
    steps: Sequence[Step]
    assigned: Sequence[str] | None = None
    old: Mapping[Any, Mapping[str, Any]] = field(default_factory=dict)
    before: Step | None = None
    is_update: bool = False
    paging: "Paging | None" = None
    whole: Mapping[str, Any] | None = None
    """Of a set that is to have a single event: the values that were assigned."""

    def change(self, row: Row) -> Change:
        """What happened to a row that a statement returned. Secret fields are left out."""
        meta = self.model.meta
        public = meta.public_row(row)
        key = row[meta.pk]
        return Change(
            key, public, self._changes(public, self.old.get(key, {})) if self.is_update else None
        )

    def changes_of(self, values: Mapping[str, Any]) -> Changes | None:
        """What the plan will change in its only row, which is about to get these values."""
        return (
            self._changes(self.model.meta.public_row(values), next(iter(self.old.values()), {}))
            if self.is_update
            else None
        )

    def _changes(self, row: Row, old: Mapping[str, Any]) -> Changes:
        names = row if self.assigned is None else [name for name in self.assigned if name in row]
        found: Changes = {}
        for name in names:
            if name not in old:
                found[name] = {"new": row[name]}
            elif old[name] != row[name]:
                found[name] = {"old": old[name], "new": row[name]}
        return found


@dataclass(frozen=True, slots=True)
class Paging:
    """A set in pages: a statement that finds and locks the keys of all its rows, and the plan for some of them."""

    keys: Step
    plan: Callable[[Sequence[Any]], Plan]


class Recorder(Protocol):
    """Runs plans. What it records is heard elsewhere; what it does not is heard here only."""

    def records(self, model: "type[Model]", signal: str) -> bool:
        """Whether receivers of this signal run elsewhere, unless they are local."""

    async def run(self, database: Database, plan: Plan) -> list[Row]:
        """Run a plan and record what it did, both or neither; answers the affected rows."""

    def announce(
        self, model: "type[Model]", signal: str, instance: Any, values: Mapping[str, Any]
    ) -> None:
        """An operation is about to happen. Never waits and never fails."""

    async def send(
        self, model: "type[Model]", signal: str, instance: Any, kwargs: Mapping[str, Any]
    ) -> None:
        """Record that somebody sent a signal."""


class LocalRecorder:
    """Records nothing: every receiver runs here."""

    def records(self, model: "type[Model]", signal: str) -> bool:
        del model, signal
        return False

    async def run(self, database: Database, plan: Plan) -> list[Row]:
        return await run_plan(database, plan)

    def announce(
        self, model: "type[Model]", signal: str, instance: Any, values: Mapping[str, Any]
    ) -> None:
        del model, signal, instance, values

    async def send(
        self, model: "type[Model]", signal: str, instance: Any, kwargs: Mapping[str, Any]
    ) -> None:
        del model, signal, instance, kwargs


async def run_plan(database: Database, plan: Plan) -> list[Row]:
    """Run the steps of a plan, in one transaction if they are several."""
    if len(plan.steps) == 1:
        return (await database.run(*plan.steps[0])).rows
    async with database.transaction():
        return [row for step in plan.steps for row in (await database.run(*step)).rows]


async def with_old_rows(database: Database, plan: Plan) -> Plan:
    """The plan, with the rows as they are before it; they are locked until the open transaction ends."""
    if plan.before is None:
        return plan
    rows = (await database.run(*plan.before)).rows
    return replace(plan, old={row[plan.model.meta.pk]: row for row in rows})


async def run_recorded(recorder: Recorder, database: Database, plan: Plan) -> list[Row]:
    """Let the recorder run a plan. Of a set that it records, page by page, only the keys are answered."""
    if plan.paging is None or not recorder.records(plan.model, plan.signal):
        return await recorder.run(database, plan)
    pk = plan.model.meta.pk
    affected: list[Row] = []
    async with database.transaction():
        keys = [row[pk] for row in (await database.run(*plan.paging.keys)).rows]
        for start in range(0, len(keys), PAGE):
            rows = await recorder.run(database, plan.paging.plan(keys[start : start + PAGE]))
            affected += [{pk: row[pk]} for row in rows]
    return affected


@dataclass(slots=True)
class Operation:
    """One call of `save`, `update` or `delete`, on an instance or on a set of rows."""

    model: "type[Model]"
    action: str
    instance: Any
    """The model's instance, or the QuerySet."""
    values: Any
    """What was assigned, as the receivers see it."""
    plan: Callable[[], Plan]
    """Made after the `pre_*` receivers have run, from what they left."""
    apply: Callable[[list[Row]], None]
    """Gives the rows to the instance, before the `post_*` receivers see it."""
    is_update: bool = False
    model_instance: Any = None

    def kwargs(self) -> dict[str, Any]:
        given = {"model_instance": self.model_instance}
        if self.action == "delete":
            return given
        return {
            **given,
            "values": self.values,
            "column_values": self.values,
            "is_update": self.is_update,
        }


async def perform(operation: Operation) -> list[Row]:
    """Receivers of `pre_*`, the plan, receivers of `post_*` that run here. Answers the affected rows.

    What a `pre_*` receiver raises reaches the caller, and nothing has been written or published then; `SkipOperation` is
    the end of the operation, but not an error.
    """
    model = operation.model
    registry = model.meta.registry
    recorder = registry.recorder
    before, after = (model.meta.signals[f"{when}_{operation.action}"] for when in ("pre", "post"))
    if not before.is_muted:
        try:
            await before.deliver(before.receivers, model, operation.instance, operation.kwargs())
        except SkipOperation:
            kwargs = {**operation.kwargs(), "row_count": 0, "operation_skipped": True}
            await after.deliver(_here(recorder, model, after), model, operation.instance, kwargs)
            return []
    plan = operation.plan()
    if not before.is_muted:
        recorder.announce(model, before.name, operation.instance, operation.values or {})
    if after.is_muted:
        rows = await run_plan(registry.database, plan)
    else:
        rows = await run_recorded(recorder, registry.database, plan)
    operation.apply(rows)
    await _deliver(after, operation, plan, rows)
    return rows


async def send(signal: Signal, sender: Any, instance: Any, kwargs: Mapping[str, Any]) -> None:
    """The way of a signal that somebody sends: to the recorder, then to the receivers that run here."""
    recorder = sender.meta.registry.recorder
    if recorder.records(sender, signal.name):
        await recorder.send(sender, signal.name, instance, kwargs)
    await signal.deliver(_here(recorder, sender, signal), sender, instance, kwargs)


def _here(recorder: Recorder, model: "type[Model]", signal: Signal) -> list[Receiver]:
    if signal.is_muted:
        return []
    elsewhere = recorder.records(model, signal.name)
    return [receiver for receiver in signal.receivers if receiver.options.local or not elsewhere]


async def _deliver(signal: Signal, operation: Operation, plan: Plan, rows: Sequence[Row]) -> None:
    registry = plan.model.meta.registry
    receivers = _here(registry.recorder, plan.model, signal)
    if not receivers:
        return
    kwargs = {**operation.kwargs(), "row_count": len(rows), "operation_skipped": False}
    if operation.model_instance is None:
        kwargs["keys"] = [row[plan.model.meta.pk] for row in rows]
    elif rows:
        kwargs["changes"] = plan.change(rows[0]).changes
    later = (
        [one for one in receivers if one.options.on_commit]
        if registry.database.in_transaction
        else []
    )
    if later:
        registry.database.on_commit(
            lambda: signal.deliver(later, plan.model, operation.instance, kwargs)
        )
    now = [one for one in receivers if one not in later]
    await signal.deliver(now, plan.model, operation.instance, kwargs)
