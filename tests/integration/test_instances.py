"""The life of an instance, compared with a plain reference on both databases.

Any sequence of operations, assignments, refusals and rollbacks leaves the instance and its row as
the reference says. The validators are not idempotent, so a value that is validated twice, or not at
all, differs from the reference.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any, NamedTuple

import pydantic
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import field_validator, model_validator

import edgy_bus as edgy
from edgy_bus.signals import pre_delete, pre_save, pre_update
from tests.unit.models import tables

FIELDS = ("name", "number", "tags", "secret")
BAD = "bad"


class Refused(Exception):
    """A receiver refuses an operation."""


class RolledBack(Exception):
    """A transaction ends with a rollback."""


class Behaviour(NamedTuple):
    """What the receiver of the next operation does."""

    outcome: str = "pass"
    assigned: Mapping[str, Any] = MappingProxyType({})
    values: Mapping[str, Any] = MappingProxyType({})


class Step(NamedTuple):
    """One step of a life."""

    kind: str
    values: Mapping[str, Any] = MappingProxyType({})
    behaviour: Behaviour = Behaviour()


def checked(name: str, value: Any) -> Any:
    """Return what the validators of the model make of a value. Raises `ValueError`."""
    if name == "number":
        return int(value) * 10
    if name == "tags":
        return [*value, "checked"]
    if value.startswith(BAD):
        raise ValueError
    return f"{value}+"


def declare(own: edgy.Registry) -> Any:
    class Thing(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=200, default="-")
        number: int = edgy.BigIntegerField(default=0)
        tags: list[str] = edgy.JSONField(default=list)
        secret: str = edgy.CharField(max_length=200, default="", secret=True)

        class Meta:
            registry = own

        @field_validator("name", "secret")
        @classmethod
        def text(cls, value: str) -> str:
            return checked("name", value)

        @field_validator("number", mode="before")
        @classmethod
        def ten_times(cls, value: Any) -> Any:
            return checked("number", value)

        @field_validator("tags")
        @classmethod
        def mark(cls, value: list[str]) -> list[str]:
            return checked("tags", value)

    class Ruled(Thing):
        """The same with a rule of the whole row, which takes another way through validation."""

        class Meta:
            registry = own

        @model_validator(mode="after")
        def whole(self) -> Any:
            assert self.name is not None
            assert self.secret is not None
            return self

    return Thing, Ruled


# The reference


class Memory(NamedTuple):
    """The attributes of an instance, the row as it knows it, and values that are valid already."""

    attributes: dict[str, Any]
    row: dict[str, Any] | None = None
    valid: dict[str, Any] = {}  # noqa: RUF012 - never changed
    defaults: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """The fields that were never assigned."""

    def assign(self, values: Mapping[str, Any]) -> "Memory":
        defaults = {n: value for n, value in self.defaults.items() if n not in values}
        attributes = self.attributes | copy.deepcopy(dict(values))
        return Memory(attributes, self.row, self.valid, defaults)


class Reference:
    """An instance and its row, in plain words."""

    def __init__(self, values: dict[str, Any]) -> None:
        defaults = {"id": None, "name": "-", "number": 0, "tags": [], "secret": ""}
        valid = {name: checked(name, value) for name, value in values.items()}
        untouched = {name: value for name, value in defaults.items() if name not in valid}
        self.take(Memory(defaults | valid, None, valid, untouched))
        self.table: dict[str, Any] | None = None
        self.undos: list[tuple[Memory, dict[str, Any]]] = []

    def take(self, memory: Memory) -> None:
        self.memory = memory_copy(memory)

    def trusts(self, name: str, value: Any) -> bool:
        _, *parts = self.memory
        return any(part is not None and name in part and part[name] == value for part in parts)

    def validated(self, values: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value if name == "id" or self.trusts(name, value) else checked(name, value)
            for name, value in values.items()
        }

    def save(self, step: Step, key: int) -> None:
        before = memory_copy(self.memory)
        self.memory = self.memory.assign(step.values)
        shown = self.memory.attributes
        # In a plain dict, a value that is put in the place of the same value changes nothing.
        changed = {n: value for n, value in step.behaviour.values.items() if shown[n] != value}
        self.memory = self.memory.assign(step.behaviour.assigned)
        written = self.validated(self.memory.attributes | changed)
        self.table = copy.deepcopy(written | {"id": self.memory.attributes["id"] or key})
        self.take(Memory(self.table, self.table))
        self.undos.append((before, copy.deepcopy(self.table)))

    def update(self, step: Step) -> None:
        attributes, row = self.memory[:2]
        assert row is not None
        assert self.table is not None
        given = {name: checked(name, value) for name, value in step.values.items()}
        assigned = {
            name: value
            for name, value in step.behaviour.assigned.items()
            if name not in given and value not in (attributes[name], row[name])
        }
        changed = {
            name: value
            for name, value in step.behaviour.values.items()
            if name not in given or given[name] != value
        }
        unchanged = {name: value for name, value in given.items() if name not in changed}
        written = self.validated(assigned | changed) | unchanged
        before = memory_copy(self.memory)
        now = attributes | dict(step.behaviour.assigned)
        unsaved = {n for n in now if n not in written and now[n] != row[n]}
        self.table = copy.deepcopy(self.table | written)
        after = {n: now[n] if n in unsaved else self.table[n] for n in now}
        self.take(Memory(after, self.table))
        self.undos.append((before, copy.deepcopy(self.table)))

    def delete(self) -> None:
        before = memory_copy(self.memory)
        row = self.memory.row
        assert row is not None
        self.table = None
        self.take(Memory(self.memory.attributes, None, row))
        self.undos.append((before, {}))

    def roll_back(self, mark: int, table: dict[str, Any] | None) -> None:
        while len(self.undos) > mark:
            before, written = self.undos.pop()
            since = {
                name: value
                for name, value in self.memory.attributes.items()
                if name not in written or value != written[name]
            }
            self.take(before.assign(since))
        self.table = table


def memory_copy(memory: Memory) -> Memory:
    # One by one: the copy of a whole keeps what its parts share.
    return Memory(*[copy.deepcopy(part) for part in memory])


# The life


class Life:
    """An instance of the library beside the reference."""

    def __init__(self, model: Any, values: dict[str, Any]) -> None:
        self.model = model
        self.reference = Reference(values)
        self.instance = model(**values)
        self.behaviour = Behaviour()
        for connect in (pre_save, pre_update, pre_delete):
            connect(model)(self.receive)

    async def receive(self, sender: Any, instance: Any, values: Any = None, **kwargs: Any) -> None:
        for name, value in copy.deepcopy(dict(self.behaviour.assigned)).items():
            setattr(instance, name, value)
        if values is not None:
            values.update(copy.deepcopy(dict(self.behaviour.values)))
        if self.behaviour.outcome == "refuse":
            raise Refused
        if self.behaviour.outcome == "skip":
            raise edgy.SkipOperation

    async def live(self, steps: list[Step]) -> None:
        """Take the steps; a step in a transaction takes the rest of its list along."""
        database = self.model.meta.registry.database
        while steps:
            step = steps.pop(0)
            if step.kind in ("commit", "roll back"):
                mark, table = len(self.reference.undos), copy.deepcopy(self.reference.table)
                with suppress(RolledBack):
                    async with database.transaction():
                        await self.live(self._inner(steps))
                        if step.kind == "roll back":
                            raise RolledBack
                if step.kind == "roll back":
                    self.reference.roll_back(mark, table)
            elif step.kind == "assign":
                for name, value in step.values.items():
                    setattr(self.instance, name, copy.deepcopy(value))
                self.reference.memory = self.reference.memory.assign(step.values)
            elif step.kind == "append":
                self.instance.tags.append("x")
                self.reference.memory.attributes["tags"].append("x")
            else:
                await self.operate(step)
            await self.compare(step)

    def _inner(self, steps: list[Step]) -> list[Step]:
        inner = steps[:3]
        del steps[:3]
        return inner

    async def operate(self, step: Step) -> None:
        reference, saved = self.reference, self.reference.memory.row is not None
        if step.kind in ("update", "delete") and not saved:
            with pytest.raises(edgy.OperationError, match="never saved"):
                await getattr(self.instance, step.kind)()
            return
        if step.kind == "update" and not step.values:
            return
        self.behaviour = step.behaviour
        values = copy.deepcopy(dict(step.values))
        call = {
            "save": lambda: self.instance.save(values),
            "update": lambda: self.instance.update(**values),
            "delete": self.instance.delete,
        }[step.kind]
        before = memory_copy(reference.memory), copy.deepcopy(reference.table)
        if step.behaviour.outcome != "pass":
            with suppress(Refused, pydantic.ValidationError):
                await call()
            return
        try:
            getattr(self, step.kind)(step)
        except ValueError:
            reference.memory, reference.table = before
            with pytest.raises(pydantic.ValidationError):
                await call()
            return
        await call()
        if step.kind == "save" and not saved:
            self._learn_key()

    def save(self, step: Step) -> None:
        self.reference.save(step, -1)

    def update(self, step: Step) -> None:
        self.reference.update(step)

    def delete(self, step: Step) -> None:
        self.reference.delete()

    def _learn_key(self) -> None:
        """Take over the key that the database made."""
        key, reference = self.instance.pk, self.reference
        assert key is not None
        for row in (reference.memory.attributes, reference.memory.row, reference.table):
            assert row is not None
            row["id"] = key
        reference.undos[-1][1]["id"] = key

    async def compare(self, step: Step) -> None:
        attributes = {name: getattr(self.instance, name) for name in ("id", *FIELDS)}
        assert attributes == self.reference.memory.attributes, step
        rows = await self.model.query.values()
        table = self.reference.table
        assert rows == ([] if table is None else [table]), step


@asynccontextmanager
async def empty_tables(url: str) -> AsyncIterator[Any]:
    async with tables(url, declare) as models:
        for model in models:
            await model.query.delete()
        yield models


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b", "a+", "b++", BAD]),
        "number": st.sampled_from([1, 10, "2"]),
        "tags": st.sampled_from([[], ["a"], ["a", "checked"]]),
        "secret": st.sampled_from(["s", "s+", BAD]),
    },
)
BEHAVIOURS = st.builds(
    Behaviour, st.sampled_from(["pass", "pass", "pass", "refuse", "skip"]), VALUES, VALUES
)
NOTHING = st.just({})
PASSING = st.just(Behaviour())
WRITES = st.sampled_from(["save", "update"])
OTHERS = st.sampled_from(["append", "delete", "commit", "roll back"])
STEPS = st.lists(
    st.one_of(
        st.builds(Step, WRITES, VALUES, BEHAVIOURS),
        st.builds(Step, WRITES, VALUES, PASSING),
        st.builds(Step, st.just("assign"), VALUES, PASSING),
        st.builds(Step, OTHERS, NOTHING, PASSING),
    ),
    max_size=12,
)
FIRST = VALUES.filter(lambda values: BAD not in values.values())


@pytest.mark.parametrize("number", [0, 1], ids=["plain", "with a rule"])
def test_an_instance_and_its_row_are_what_the_reference_says(
    database_url: str, number: int
) -> None:
    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @example({"name": "a"}, [Step("roll back"), Step("save"), Step("save")])
    @example({}, [Step("save"), Step("roll back"), Step("delete"), Step("save"), Step("delete")])
    @example({}, [Step("save"), Step("assign", {"name": "a"}), Step("update", {"number": 1})])
    @given(FIRST, STEPS)
    def check(values: dict[str, Any], steps: list[Step]) -> None:
        async def live() -> None:
            async with empty_tables(database_url) as models:
                life = Life(models[number], copy.deepcopy(values))
                await life.live(list(steps))

        asyncio.run(live())

    check()
