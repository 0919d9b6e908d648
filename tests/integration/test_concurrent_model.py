"""Events, `changes`, rows and instances stay true while several tasks change the same rows.

Hypothesis draws a model, and a program for each of several tasks: operations on instances and sets
in transactions that commit or roll back, refusals, and changes by SQL without events. Afterwards
the events of each row are replayed, in their order, in a plain model: the old values of an event
are the values that the event before has left, and the last event leaves the row as it is.

A change by SQL adds 1 to `unseen`, which has no event. So the events may miss exactly the number of
such changes that were committed, and the old values of the events contain all of them.
"""

import asyncio
import copy
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

import edgy_bus as edgy
from edgy_bus.outbox.table import outbox
from edgy_bus.sources.changes import differ
from tests.integration.kinds import KINDS, SMALL, Kind, Row, changes_json, declared, public_json
from tests.integration.service import Service

ROWS = 3
COUNTERS: dict[str, Kind] = {
    "count": Kind(int, edgy.IntegerField, 0, SMALL),
    "unseen": Kind(int, edgy.BigIntegerField, 0, SMALL),
}
NAMES = sorted(KINDS.keys() - {"code"})
"""Without the unique field: tasks that write its values in opposite orders lose deadlocks."""


class Refused(Exception):
    """A receiver refuses the operation, or a transaction rolls back."""


@dataclass(frozen=True)
class Action:
    """An operation on one of the rows, or on all rows."""

    name: str
    at: int = 0
    values: Row = field(default_factory=dict)
    refused: bool = False
    rests: int = 0
    """How often other tasks may run before the operation."""


class Turn(NamedTuple):
    actions: list[Action]
    commits: bool


class Program(NamedTuple):
    names: tuple[str, ...]
    rows: list[Row]
    tasks: list[list[Turn]]


ON_ROWS = ("update", "update", "save", "count", "delete", "sql", "load")
ON_SETS = ("update_set", "count_set", "delete_set", "update_many")


@st.composite
def programs(draw: st.DrawFn) -> Program:
    chosen = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    names = tuple(sorted(chosen))
    values = st.fixed_dictionaries({}, optional={name: KINDS[name].values for name in names})
    actions = st.builds(
        Action,
        st.sampled_from([*ON_ROWS, *ON_ROWS, *ON_SETS, "create"]),
        st.integers(0, ROWS - 1),
        values,
        st.integers(0, 5).map(lambda number: number == 0),
        st.integers(0, 3),
    )
    turns = st.builds(Turn, st.lists(actions, min_size=1, max_size=3), st.integers(0, 3).map(bool))
    rows = [draw(values) for _ in range(ROWS)]
    tasks = st.lists(st.lists(turns, min_size=1, max_size=4), min_size=2, max_size=4)
    return Program(names, rows, draw(tasks))


class Shop(Service):
    """A service with the models that programs have asked for."""

    def __init__(self, database: edgy.Database) -> None:
        super().__init__(database)
        self.models: dict[tuple[str, ...], Any] = {}

    async def model(self, names: tuple[str, ...]) -> Any:
        if names not in self.models:
            self.models[names] = self._declare(f"Shared{len(self.models)}", names)
            await self.registry.create_all()
        return self.models[names]

    def _declare(self, name: str, names: tuple[str, ...]) -> Any:
        class Base(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)

            class Meta:
                abstract = True

        kinds = {name: KINDS[name] for name in names} | COUNTERS
        return declared(self.registry, name, kinds, Base, {})

    async def check(self, program: Program) -> None:
        model = await self.model(program.names)
        run = Run(self, model, program)
        signals = model.meta.signals
        # Not of deletions: an instance keeps its own values, and the event has those of the row.
        listeners = {f"pre_{action}": run.refuse for action in ("save", "update", "delete")}
        listeners |= {f"post_{action}": run.hear for action in ("save", "update")}
        for name, receiver in listeners.items():
            signals[name].connect(receiver, edgy.Options(local=True))
        try:
            await run.run()
        finally:
            for name, receiver in listeners.items():
                signals[name].disconnect(receiver)
            await self.database.run(model.meta.table.delete())
            await self.database.run(outbox.delete())


class Task:
    """What one of the tasks knows and has done."""

    def __init__(self, instances: list[Any]) -> None:
        self.instances = instances
        self.refused = False
        self.heard: list[str] = []
        self.unseen: list[int] = []


class Run:
    """A program that runs, and what its tasks have committed."""

    def __init__(self, shop: Shop, model: Any, program: Program) -> None:
        self.shop = shop
        self.model = model
        self.program = program
        self.database = shop.database
        self.tasks: dict[Any, Task] = {}
        self.heard: Counter[str] = Counter()
        self.unseen: Counter[int] = Counter()

    # Receivers run in the task of the operation.

    async def refuse(self, sender: Any, instance: Any, **kwargs: Any) -> None:
        if self.tasks[asyncio.current_task()].refused:
            raise Refused

    async def hear(self, sender: Any, instance: Any, **kwargs: Any) -> None:
        if kwargs["model_instance"] is None or not kwargs["row_count"]:
            return
        row = public_json(self.model, instance.snapshot())
        line = as_line(row, changes_json(self.model, kwargs["changes"]))
        self.tasks[asyncio.current_task()].heard.append(line)

    # The program

    async def run(self) -> None:
        # Before the tasks are known, no receiver needs to look at one.
        self.tasks[asyncio.current_task()] = Task([])
        rows = await self.model.query.bulk_create(self.program.rows)
        keys = [row.pk for row in rows]
        await self.database.run(outbox.delete())
        first = {row.pk: public_json(self.model, row.field_values()) for row in rows}
        async with asyncio.TaskGroup() as group:
            for turns in self.program.tasks:
                group.create_task(self.run_task(turns, keys))
        await self.compare(first)

    async def run_task(self, turns: list[Turn], keys: list[int]) -> None:
        task = Task(list(await self.model.query.filter(pk__in=keys).order_by("pk")))
        self.tasks[asyncio.current_task()] = task
        for turn in turns:
            if not task.instances:
                return
            task.heard.clear()
            task.unseen.clear()
            with suppress(Refused, edgy.TryAgain):
                async with self.database.transaction():
                    # In the order of keys, as operations lock rows. Two tasks may deadlock all the
                    # same: a set that has waited for a row, which was deleted and inserted again
                    # meanwhile, has not locked that row, and its transaction may come back to it.
                    instances = task.instances
                    for action in sorted(turn.actions, key=lambda each: place(each, instances)):
                        await self.act(task, action)
                    if not turn.commits:
                        raise Refused
                self.heard.update(task.heard)
                self.unseen.update(task.unseen)

    async def act(self, task: Task, action: Action) -> None:
        for _ in range(action.rests):
            await asyncio.sleep(0)
        task.refused = action.refused
        heard, unseen = len(task.heard), len(task.unseen)
        try:
            # A savepoint: on PostgreSQL, a refused row would end the transaction.
            async with self.database.transaction():
                await getattr(self, f"_{action.name}")(task, action)
        except (edgy.ObjectNotFound, edgy.OperationError, edgy.IntegrityError, Refused):
            # The row is gone, or was never written; two tasks insert the same deleted row again; or
            # a receiver refuses.
            del task.heard[heard:]
            del task.unseen[unseen:]

    @staticmethod
    def _instance(task: Task, action: Action) -> Any:
        return task.instances[action.at % len(task.instances)]

    async def _update(self, task: Task, action: Action) -> None:
        await self._instance(task, action).update(**action.values)

    async def _save(self, task: Task, action: Action) -> None:
        await self._instance(task, action).save(action.values)

    async def _load(self, task: Task, action: Action) -> None:
        await self._instance(task, action).load()

    async def _count(self, task: Task, action: Action) -> None:
        await self._instance(task, action).update(count=edgy.F("count") + 1, **action.values)

    async def _delete(self, task: Task, action: Action) -> None:
        await self._instance(task, action).delete()

    async def _create(self, task: Task, action: Action) -> None:
        await self.model.query.create(**action.values)

    async def _sql(self, task: Task, action: Action) -> None:
        table, key = self.model.meta.table, self._instance(task, action).pk
        statement = update(table).where(table.c.id == key).values(unseen=table.c.unseen + 1)
        if (await self.database.run(statement)).rowcount:
            task.unseen.append(key)

    async def _update_set(self, task: Task, action: Action) -> None:
        await self.model.query.update(**action.values)

    async def _count_set(self, task: Task, action: Action) -> None:
        await self.model.query.update(count=edgy.F("count") + 1, **action.values)

    async def _delete_set(self, task: Task, action: Action) -> None:
        key = self._instance(task, action).pk
        await self.model.query.filter(pk__gt=key).delete()

    async def _update_many(self, task: Task, action: Action) -> None:
        # Copies: what is assigned stays on an instance if a receiver refuses the operation.
        instances = [copy.copy(instance) for instance in task.instances]
        for instance in instances:
            for name, value in action.values.items():
                setattr(instance, name, value)
        await self.model.query.bulk_update(instances, action.values)

    # What must hold afterwards

    async def compare(self, first: dict[int, Row]) -> None:
        events = await self.shop.outbox()
        histories: dict[int, list[Row]] = defaultdict(list)
        for event in events:
            histories[event["data"]["instance"]["id"]].append(event)
        stored = {
            row.pk: public_json(self.model, row.field_values()) for row in await self.model.query
        }
        for key in first.keys() | histories.keys() | stored.keys():
            missed, last = self.replay(first.get(key), histories[key])
            row = stored.get(key)
            if row is not None and last is not None:
                missed += row["unseen"] - last["unseen"]
                last = last | {"unseen": row["unseen"]}
            assert row == last
            assert missed == self.unseen[key]
        # Receivers here got the rows and the changes of the committed events of single rows.
        written = Counter(
            as_line(event["data"]["instance"], event["data"].get("changes")) for event in events
        )
        assert self.heard <= written

    def replay(self, row: Row | None, events: list[Row]) -> tuple[int, Row | None]:
        """Return the number of changes that no event reports, and the row after the events."""
        missed = 0
        for event in events:
            data = event["data"]
            new = data["instance"]
            if row is None:
                assert (event["signal"], data["is_update"]) == ("post_save", False)
                row = new
                continue
            changes = data.get("changes")
            old = {**new, **{name: change["old"] for name, change in (changes or {}).items()}}
            missed += old["unseen"] - row["unseen"]
            assert old["unseen"] >= row["unseen"]
            assert old | {"unseen": 0} == row | {"unseen": 0}
            if event["signal"] == "post_delete":
                assert changes is None
                row = None
                continue
            assert data["is_update"]
            for name, change in changes.items():
                assert differ(change["old"], change["new"])
                assert change["new"] == new[name]
            row = new
        return missed, row


def as_line(row: Mapping[str, Any], changes: Mapping[str, Any] | None) -> str:
    """Return a text that is equal for equal rows and changes in JSON."""
    # PostgreSQL writes 0 for 0.0, and databases have orders of their own for names in JSON.
    return json.dumps(with_plain_numbers([row, changes]), sort_keys=True)


def with_plain_numbers(value: Any) -> Any:
    """Return JSON with whole numbers in place of floats of the same value."""
    if isinstance(value, Mapping):
        return {name: with_plain_numbers(part) for name, part in value.items()}
    if isinstance(value, list):
        return [with_plain_numbers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def place(action: Action, instances: list[Any]) -> float:
    """Return the place of an operation in the order of keys, in which operations lock rows."""
    at = action.at % len(instances)
    # The set that is deleted are the rows behind a row. Other sets are all rows.
    return at + 0.5 if action.name == "delete_set" else -1 if action.name in ON_SETS else at


def test_what_tasks_commit_side_by_side_agrees_with_the_plain_model(database_url: str) -> None:
    with asyncio.Runner() as runner:
        context = Shop(edgy.Database(database_url)).running()
        shop = runner.run(context.__aenter__())

        @settings(
            max_examples=100,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(programs())
        def check(program: Program) -> None:
            runner.run(shop.check(program))

        try:
            check()
        finally:
            runner.run(context.__aexit__(None, None, None))
