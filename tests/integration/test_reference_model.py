"""Rows, events, `changes` and instances agree with a plain model, on both databases.

Hypothesis draws a model of some fields, and a program: operations on instances and sets, receivers
that refuse, skip or change them, changes by SQL, transactions and savepoints that roll back.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pydantic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

import edgy_bus as edgy
from edgy_bus.outbox.table import outbox
from tests.integration.kinds import KINDS as ANY_KINDS
from tests.integration.kinds import (
    LETTERS,
    SMALL,
    Kind,
    Row,
    changes_json,
    declared,
    public_json,
)
from tests.integration.reference import (
    NO_HOOK,
    Event,
    Gone,
    Hook,
    Invalid,
    Reference,
    Refused,
    Taken,
)
from tests.integration.service import Service

KINDS: dict[str, Kind] = {
    **ANY_KINDS,
    "shout": Kind(str, edgy.TextField, "", LETTERS),
    "low": Kind(int, edgy.IntegerField, 0, SMALL),
    "high": Kind(int, edgy.IntegerField, 0, SMALL),
}
"""Every field function; `shout` has a validator, and `low` and `high` have a rule of the row."""


def shout(value: str) -> str:
    """A validator that must run once: a second run shows."""
    return f"{value}!"


def in_order(row: Row) -> bool:
    """The rule of a row."""
    return "low" not in row or "high" not in row or bool(row["low"] <= row["high"])


# Programs


@dataclass(frozen=True)
class Step:
    """An operation on an instance or on a set, both chosen by number among those that exist."""

    action: str
    at: int = 0
    values: Row = field(default_factory=dict)
    hook: Hook = NO_HOOK


@dataclass(frozen=True)
class Block:
    """A transaction, or a savepoint inside of a transaction."""

    steps: tuple["Step | Block", ...]
    commits: bool


class Program(NamedTuple):
    names: tuple[str, ...]
    steps: list[Step | Block]
    in_transaction: bool
    """The whole program runs in a transaction, so that its transactions are savepoints."""


ACTIONS = (
    *("create", "load", "assign", "assign", "save", "update", "update", "delete"),
    *("update_set", "sql", "save_values", "count", "count_set", "copy"),
    *("bulk_create", "bulk_update"),
)
"""Deleting a whole set ends most of what is interesting, so it is drawn as seldom as the others."""


ON_SETS = ("update_set", "count_set", "delete_set", "sql", "load", "bulk_create", "bulk_update")
CREATES = ("create", "bulk_create")


def blocks(steps: st.SearchStrategy[Step | Block]) -> st.SearchStrategy[Block]:
    return st.builds(Block, st.lists(steps, min_size=1, max_size=4).map(tuple), st.booleans())


@st.composite
def programs(draw: st.DrawFn) -> Program:
    chosen = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4, unique=True))
    names = tuple(sorted(chosen))
    values = st.fixed_dictionaries({}, optional={name: KINDS[name].values for name in names})
    hooks = st.just(NO_HOOK) | st.builds(
        Hook, refuses=st.booleans(), skips=st.booleans(), values=values, assigns=values
    )
    steps = st.builds(
        Step, st.sampled_from([*ACTIONS, "delete_set"]), st.integers(0, 2), values, hooks
    )
    savepoints = blocks(steps)
    drawn = draw(st.lists(steps | blocks(steps | savepoints), min_size=1, max_size=12))
    # Something to work on: most steps do nothing without a row.
    rows = [Step("create", values=draw(values)) for _ in range(2)]
    return Program(names, [*rows, *drawn], draw(st.booleans()))


# Running


class World:
    """A program's model, its instances, and the reference that they are compared with."""

    def __init__(self, model: Any, names: tuple[str, ...], service: Service) -> None:
        self.model = model
        self.service = service
        self.database = service.database
        self.defaults = {name: KINDS[name].default for name in names}
        self.reference = Reference(names, {"shout": shout}, in_order, frozenset({"code"}))
        self.instances: list[Any] = []
        self.hook = NO_HOOK
        self.heard: list[tuple[str, Any]] = []
        self.expected: list[tuple[str, Any]] = []

    # What receivers do

    async def before(self, sender: Any, instance: Any, **kwargs: Any) -> None:
        hook = self.hook
        # First what a refusal has to take back.
        if kwargs["model_instance"] is not None:
            for name, value in hook.assigns.items():
                setattr(instance, name, value)
        values = kwargs.get("values")
        if isinstance(values, list):
            for row in values:
                row.update(self.reference.values_of_bulk(hook))
        elif values is not None:
            values.update(hook.values)
        if hook.refuses:
            raise Refused
        if hook.skips:
            raise edgy.SkipOperation

    async def after(self, sender: Any, instance: Any, **kwargs: Any) -> None:
        if kwargs["model_instance"] is not None and kwargs["row_count"]:
            self.heard.append((instance.pk, changes_json(self.model, kwargs["changes"])))

    # Steps

    async def run(self, step: Step | Block) -> None:
        if isinstance(step, Block):
            await self.run_block(step)
        else:
            await self.run_step(step)
        await self.compare()

    async def run_block(self, block: Block) -> None:
        since = self.reference.begin()
        async with self.database.transaction(force_rollback=not block.commits):
            for step in block.steps:
                await self.run(step)
        if not block.commits:
            self.reference.roll_back(since)

    async def run_step(self, step: Step) -> None:
        on_set = step.action in ON_SETS
        works_on = self.reference.rows if on_set else self.instances
        if step.action == "bulk_update":
            works_on = self.instances
        if step.action not in CREATES and not works_on:
            return
        self.hook = step.hook
        before = len(self.reference.events)
        outcome, answer = await self.attempt(getattr(self, f"really_{step.action}")(step))
        expected, number = self.expect(step, answer)
        assert outcome == expected, step
        if step.action in ("update_set", "count_set", "delete_set", "bulk_update"):
            assert answer == number, step
        if not on_set:
            events = self.reference.events[before:]
            self.expected += [
                (event.key, changes_json(self.model, event.changes)) for event in events
            ]

    async def attempt(self, operation: Awaitable[Any]) -> tuple[str, Any]:
        try:
            if not self.database.in_transaction:
                return "done", await operation
            # A savepoint: on PostgreSQL, a refused row would end the transaction.
            async with self.database.transaction():
                return "done", await operation
        except edgy.IntegrityError:
            return "taken", None
        except pydantic.ValidationError:
            return "invalid", None
        except Refused:
            return "refused", None
        except (edgy.ObjectNotFound, edgy.OperationError):
            return "gone", None

    def expect(self, step: Step, answer: Any) -> tuple[str, Any]:
        try:
            return "done", getattr(self, f"expected_{step.action}")(step, answer)
        except Invalid:
            return "invalid", None
        except Taken:
            return "taken", None
        except Refused:
            return "refused", None
        except Gone:
            return "gone", None

    def instance(self, step: Step) -> Any:
        return self.instances[step.at % len(self.instances)]

    def known(self, step: Step) -> Any:
        return self.reference.instances[step.at % len(self.instances)]

    def keys(self, step: Step) -> list[int]:
        """The keys of a set: some of the rows, by the number of the step."""
        return [key for at, key in enumerate(sorted(self.reference.rows)) if (at + step.at) % 2]

    def key(self, step: Step) -> int:
        keys = sorted(self.reference.rows)
        return keys[step.at % len(keys)]

    # Each operation, really and in the reference

    async def really_create(self, step: Step) -> Any:
        instance = await self.model.query.create(**step.values)
        self.instances.append(instance)
        return instance.pk

    def expected_create(self, step: Step, answer: Any) -> None:
        self.reference.create(step.values, self.defaults, step.hook, answer)

    async def really_load(self, step: Step) -> None:
        self.instances.append(await self.model.query.get(pk=self.key(step)))

    def expected_load(self, step: Step, _: Any) -> None:
        self.reference.load(self.key(step))

    async def really_assign(self, step: Step) -> None:
        for name, value in step.values.items():
            setattr(self.instance(step), name, value)

    def expected_assign(self, step: Step, _: Any) -> None:
        self.reference.assign(self.known(step), step.values)

    async def really_save(self, step: Step) -> Any:
        instance = self.instance(step)
        await instance.save()
        return instance.pk

    def expected_save(self, step: Step, answer: Any) -> None:
        self.reference.save(self.known(step), step.hook, answer)

    async def really_save_values(self, step: Step) -> Any:
        instance = self.instance(step)
        await instance.save(step.values)
        return instance.pk

    def expected_save_values(self, step: Step, answer: Any) -> None:
        self.reference.save(self.known(step), step.hook, answer, step.values)

    async def really_copy(self, step: Step) -> Any:
        instance = self.instance(step)
        instance.id = None
        await instance.save()
        return instance.pk

    def expected_copy(self, step: Step, answer: Any) -> None:
        self.reference.assign(self.known(step), {"id": None})
        self.reference.save(self.known(step), step.hook, answer)

    async def really_bulk_create(self, step: Step) -> Any:
        # A receiver gets a list of values; what it does to `shout` depends on the identity of the
        # value, which the reference does not know.
        rows = [step.values, self.model(), {}]
        created = await self.model.query.bulk_create(rows)
        self.instances += created
        return [instance.pk for instance in created]

    def expected_bulk_create(self, step: Step, answer: Any) -> None:
        rows = [step.values, {}, {}]
        self.reference.bulk_create(rows, self.defaults, step.hook, answer)

    def several(self, step: Step) -> list[int]:
        """Return the places of one instance, or of two instances of different rows."""
        first, second = step.at % len(self.instances), (step.at + 1) % len(self.instances)
        keys = [self.reference.instances[at].attributes["id"] for at in (first, second)]
        return [first, second] if keys[0] != keys[1] else [first]

    async def really_bulk_update(self, step: Step) -> Any:
        instances = [self.instances[at] for at in self.several(step)]
        for instance in instances:
            for name, value in step.values.items():
                setattr(instance, name, value)
        return await self.model.query.bulk_update(instances, step.values)

    def expected_bulk_update(self, step: Step, _: Any) -> int:
        chosen = [self.reference.instances[at] for at in self.several(step)]
        for known in chosen:
            self.reference.assign(known, step.values)
        return self.reference.bulk_update(chosen, tuple(step.values), step.hook)

    async def really_count(self, step: Step) -> None:
        values = step.values
        if "number" in self.reference.names:
            values = values | {"number": edgy.F("number") + 1}
        await self.instance(step).update(**values)

    def expected_count(self, step: Step, _: Any) -> None:
        computed = {"number": 1} if "number" in self.reference.names else {}
        self.reference.update(self.known(step), step.values, step.hook, computed)

    async def really_count_set(self, step: Step) -> Any:
        values = step.values
        if "number" in self.reference.names:
            values = values | {"number": edgy.F("number") + 1}
        return await self.model.query.filter(pk__in=self.keys(step)).update(**values)

    def expected_count_set(self, step: Step, _: Any) -> Any:
        computed = {"number": 1} if "number" in self.reference.names else {}
        return self.reference.update_set(self.keys(step), step.values, step.hook, computed)

    async def really_update(self, step: Step) -> None:
        await self.instance(step).update(**step.values)

    def expected_update(self, step: Step, _: Any) -> None:
        self.reference.update(self.known(step), step.values, step.hook)

    async def really_delete(self, step: Step) -> None:
        await self.instance(step).delete()

    def expected_delete(self, step: Step, _: Any) -> None:
        self.reference.delete(self.known(step), step.hook)

    async def really_update_set(self, step: Step) -> Any:
        return await self.model.query.filter(pk__in=self.keys(step)).update(**step.values)

    def expected_update_set(self, step: Step, _: Any) -> Any:
        return self.reference.update_set(self.keys(step), step.values, step.hook)

    async def really_delete_set(self, step: Step) -> Any:
        return await self.model.query.filter(pk__in=self.keys(step)).delete()

    def expected_delete_set(self, step: Step, _: Any) -> Any:
        return self.reference.delete_set(self.keys(step), step.hook)

    async def really_sql(self, step: Step) -> None:
        table = self.model.meta.table
        if step.values:
            statement = update(table).where(table.c.id == self.key(step)).values(**step.values)
            await self.database.run(statement)

    def expected_sql(self, step: Step, _: Any) -> None:
        self.reference.change_unseen(self.key(step), step.values)

    # Comparing

    async def compare(self) -> None:
        rows = await self.model.query.order_by("pk").values()
        assert rows == [row for _, row in sorted(self.reference.rows.items())]
        found = [instance.field_values() for instance in self.instances]
        assert found == [known.attributes for known in self.reference.instances]
        # By row: the rows of a bulk are inserted in the order of their unique values.
        events = sorted(
            map(as_written, await self.service.outbox()), key=lambda event: event["instance"]["id"]
        )
        wanted = sorted(
            map(self.as_json, self.reference.events), key=lambda event: event["instance"]["id"]
        )
        assert events == wanted
        assert self.heard == self.expected

    def as_json(self, event: Event) -> Row:
        """Return an event of the reference as the outbox contains events."""
        return {
            "signal": event.signal,
            "instance": public_json(self.model, event.row),
            "is_update": event.is_update,
            "changes": changes_json(self.model, event.changes),
        }


def as_written(event: Row) -> Row:
    data = event["data"]
    assert event["subject"] == str(data["instance"]["id"])
    return {
        "signal": event["signal"],
        "instance": data["instance"],
        "is_update": data["is_update"],
        "changes": data.get("changes"),
    }


class Shop(Service):
    """A service with the models that programs have asked for."""

    def __init__(self, database: edgy.Database) -> None:
        super().__init__(database)
        self.models: dict[tuple[str, ...], Any] = {}

    async def model(self, names: tuple[str, ...]) -> Any:
        if names not in self.models:
            self.models[names] = model_of(self.registry, f"Model{len(self.models)}", names)
            await self.registry.create_all()
        return self.models[names]

    async def run(self, program: Program) -> None:
        model = await self.model(program.names)
        world = World(model, program.names, self)
        signals = model.meta.signals
        for action in ("save", "update", "delete"):
            signals[f"pre_{action}"].connect(world.before, edgy.Options(local=True))
            signals[f"post_{action}"].connect(world.after, edgy.Options(local=True))
        try:
            if program.in_transaction:
                async with self.database.transaction(force_rollback=True):
                    await self._run(world, program)
            else:
                await self._run(world, program)
        finally:
            await self.database.run(model.meta.table.delete())
            await self.database.run(outbox.delete())
            for action in ("save", "update", "delete"):
                signals[f"pre_{action}"].disconnect(world.before)
                signals[f"post_{action}"].disconnect(world.after)

    async def _run(self, world: World, program: Program) -> None:
        for step in program.steps:
            await world.run(step)


def model_of(registry: edgy.Registry, name: str, names: tuple[str, ...]) -> Any:
    """Return a model with these fields."""

    class Base(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            abstract = True

        @pydantic.model_validator(mode="after")
        def keep_in_order(self) -> "Base":
            if not in_order(self.__dict__):
                raise ValueError("low is above high")
            return self

    members = {"shouted": pydantic.field_validator("shout")(shout)} if "shout" in names else {}
    return declared(registry, name, {each: KINDS[each] for each in names}, Base, members)


def test_any_program_agrees_with_the_plain_model(database_url: str) -> None:
    with asyncio.Runner() as runner:
        context = Shop(edgy.Database(database_url)).running()
        ours = runner.run(context.__aenter__())

        @settings(
            max_examples=150,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(programs())
        def compare(program: Program) -> None:
            runner.run(ours.run(program))

        try:
            compare()
        finally:
            runner.run(context.__aexit__(None, None, None))
