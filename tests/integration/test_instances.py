"""The life of an instance, compared with the plain reference on both databases.

Any sequence of operations, assignments, refusals and rollbacks leaves the instance and its row as
the reference says. The validators are not idempotent, so a value that is validated twice, or not at
all, differs from the reference.
"""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pydantic
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import field_validator, model_validator

import edgy_bus as edgy
from edgy_bus.signals import pre_delete, pre_save, pre_update
from tests.integration.reference import (
    NO_HOOK,
    Gone,
    Hook,
    Invalid,
    Reference,
    Refused,
    Row,
)
from tests.unit.models import tables

FIELDS = ("name", "number", "tags", "secret")
BAD = "bad"


class RolledBack(Exception):
    """A transaction ends with a rollback."""


@dataclass(frozen=True)
class Step:
    """One step of a life, and what the receiver does in it."""

    kind: str
    values: Row = field(default_factory=dict)
    hook: Hook = NO_HOOK


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
        def text(cls, value: str) -> Any:
            return checked("name", value)

        @field_validator("number", mode="before")
        @classmethod
        def ten_times(cls, value: Any) -> Any:
            return checked("number", value)

        @field_validator("tags")
        @classmethod
        def mark(cls, value: list[str]) -> Any:
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


DEFAULTS = {"name": "-", "number": 0, "tags": [], "secret": ""}


def validator(name: str) -> Callable[[Any], Any]:
    def validate(value: Any) -> Any:
        try:
            return checked(name, value)
        except ValueError:
            raise Invalid from None

    return validate


class Life:
    """An instance of the library beside the reference."""

    def __init__(self, model: Any, values: dict[str, Any]) -> None:
        self.model = model
        validators = {name: validator(name) for name in FIELDS}
        self.reference = Reference(("id", *FIELDS), validators, lambda row: True)
        self.known = self.reference.construct(values, DEFAULTS)
        self.instance = model(**values)
        self.hook = NO_HOOK
        for connect in (pre_save, pre_update, pre_delete):
            connect(model)(self.receive)

    async def receive(self, sender: Any, instance: Any, values: Any = None, **kwargs: Any) -> None:
        for name, value in copy.deepcopy(self.hook.assigns).items():
            setattr(instance, name, value)
        if values is not None:
            values.update(copy.deepcopy(self.hook.values))
        if self.hook.refuses:
            raise Refused
        if self.hook.skips:
            raise edgy.SkipOperation

    async def live(self, steps: list[Step]) -> None:
        """Take the steps; a step in a transaction takes the rest of its list along."""
        database = self.model.meta.registry.database
        while steps:
            step = steps.pop(0)
            if step.kind in ("commit", "roll back"):
                since = self.reference.begin()
                with suppress(RolledBack):
                    async with database.transaction():
                        await self.live(self._inner(steps))
                        if step.kind == "roll back":
                            raise RolledBack
                if step.kind == "roll back":
                    self.reference.roll_back(since)
            elif step.kind == "assign":
                for name, value in step.values.items():
                    setattr(self.instance, name, copy.deepcopy(value))
                self.reference.assign(self.known, step.values)
            elif step.kind == "append":
                self.instance.tags.append("x")
                self.known.attributes["tags"].append("x")
            else:
                await self.operate(step)
            await self.compare(step)

    def _inner(self, steps: list[Step]) -> list[Step]:
        inner = steps[:3]
        del steps[:3]
        return inner

    async def operate(self, step: Step) -> None:
        self.hook = step.hook
        outcome = await self.really(step)
        assert outcome == self.expected(step), step

    async def really(self, step: Step) -> str:
        values = copy.deepcopy(step.values)
        try:
            if step.kind == "save":
                await self.instance.save(values)
            elif step.kind == "update":
                await self.instance.update(**values)
            else:
                await self.instance.delete()
        except pydantic.ValidationError:
            return "invalid"
        except Refused:
            return "refused"
        except edgy.OperationError:
            return "gone"
        return "done"

    def expected(self, step: Step) -> str:
        reference, known = self.reference, self.known
        try:
            if step.kind == "save":
                reference.save(known, step.hook, self.instance.pk, step.values)
            elif step.kind == "update":
                reference.update(known, step.values, step.hook)
            else:
                reference.delete(known, step.hook)
        except Invalid:
            return "invalid"
        except Refused:
            return "refused"
        except Gone:
            return "gone"
        return "done"

    async def compare(self, step: Step) -> None:
        attributes = {name: getattr(self.instance, name) for name in ("id", *FIELDS)}
        assert attributes == self.known.attributes, step
        assert await self.model.query.values() == list(self.reference.rows.values()), step


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
HOOKS = st.builds(Hook, values=VALUES, assigns=VALUES) | st.builds(
    Hook, refuses=st.booleans(), skips=st.booleans(), values=VALUES, assigns=VALUES
)
NOTHING: st.SearchStrategy[Row] = st.just({})
PASSING = st.just(NO_HOOK)
WRITES = st.sampled_from(["save", "update"])
OTHERS = st.sampled_from(["append", "delete", "commit", "roll back"])
STEPS = st.lists(
    st.one_of(
        st.builds(Step, WRITES, VALUES, HOOKS),
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
    @example({}, [Step("append"), Step("save", hook=Hook(values={"tags": []}))])
    @example({}, [Step("save"), Step("update", {"name": "a"}, Hook(values={"tags": []}))])
    @given(FIRST, STEPS)
    def check(values: dict[str, Any], steps: list[Step]) -> None:
        async def live() -> None:
            async with empty_tables(database_url) as models:
                life = Life(models[number], copy.deepcopy(values))
                await life.live(list(steps))

        asyncio.run(live())

    check()
