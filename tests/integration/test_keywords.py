"""Check what receivers are given, here and in workers: the same keywords with the same values.

`docs/signals.md` has the table; the last test compares the table with the code.
"""

import datetime as dt
import decimal
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import edgy_bus as edgy
from edgy_bus.codec import dumps, loads
from edgy_bus.signals import BUILT_IN, BUILT_IN_KEYWORDS, CUSTOM_KEYWORDS, POST_SIGNALS
from tests.integration.service import QUICK, handling
from tests.support import eventually

AT = dt.datetime(2026, 11, 27, 12, 30, tzinfo=dt.UTC)
LATER = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
KEY = uuid.UUID(int=7)
ROW = {
    "name": "a",
    "price": decimal.Decimal("1.50"),
    "at": AT,
    "ref": KEY,
    "settings": {"x": [1]},
    "secret": "s3cret",
}


class Call(NamedTuple):
    """One call of a receiver."""

    signal: str
    sender: Any
    given: dict[str, Any]
    row: dict[str, Any] | None
    """The instance at the time of the call."""


class Place:
    """A model, and receivers in one of the places in which receivers run."""

    def __init__(self, url: str, where: str) -> None:
        self.where = where
        self.broker = None if where.startswith("local mode") else "memory://"
        self.bus = edgy.Bus(
            self.broker,
            service="shop",
            **QUICK,
        )
        shared = edgy.Registry(url, bus=self.bus)
        self.registry = shared

        class Item(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=50)
            price: decimal.Decimal = edgy.DecimalField(max_digits=8, decimal_places=2)
            at: dt.datetime | None = edgy.DateTimeField(null=True)
            ref: uuid.UUID | None = edgy.UUIDField(null=True)
            settings: dict[str, Any] = edgy.JSONField(default=dict)
            secret: str = edgy.CharField(max_length=50, secret=True, default="")

            class Meta:
                registry = shared

        self.Item = Item
        Item.meta.signals.on_print = edgy.Signal()
        self.calls: list[Call] = []

    @property
    def by_name(self) -> bool:
        return self.where.endswith("by name")

    def connect(self, signal: str, **options: Any) -> None:
        async def receiver(sender: Any, **given: Any) -> None:
            row = _public(given.get("instance"))
            self.calls.append(Call(signal, sender, given, row))

        receiver.__qualname__ = f"receiver.{signal}"
        if self.by_name:
            self.bus.receiver("shop.Item", signal, **options)(receiver)
            return
        if self.where.startswith("here"):
            options["local"] = True
        chosen = self.Item.meta.signals[signal]
        chosen.connect(receiver, edgy.signals.Options(**options))

    def running(self) -> AbstractAsyncContextManager[None]:
        return handling(self.bus, self.registry)

    async def heard(self, signal: str, count: int = 1) -> list[Call]:
        """Return the calls of a signal, once there are so many of them."""

        def calls() -> list[Call]:
            return [call for call in self.calls if call.signal == signal]

        await eventually(lambda: len(calls()) >= count, f"{count} calls of {signal}")
        assert len(calls()) == count
        return calls()

    def check_sender(self, call: Call) -> None:
        assert call.sender == ("shop.Item" if self.by_name else self.Item)

    def comparable(self, call: Call) -> dict[str, Any]:
        """Return what a receiver was given, in the form in which all places are compared."""
        given = dict(call.given)
        in_worker = self.broker is not None and not self.where.startswith("here")
        assert (given.pop("event") is not None) is in_worker
        assert given["model_instance"] is given["instance"]
        if given["instance"] is not None:
            given.update(instance=call.row, model_instance=call.row)
        for name in ("values", "column_values"):
            if given.get(name) is not None:
                # Secret fields never leave the database.
                given[name] = {key: given[name][key] for key in given[name] if key != "secret"}
        return loads(dumps(given)) if self.by_name else given


def _public(instance: Any) -> Any:
    if instance is None:
        return None
    return {name: value for name, value in vars(instance).items() if name != "secret"}


PLACES = [
    "local mode",
    "local mode by name",
    "here, with a broker",
    "worker",
    "worker by name",
]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, database_url: str) -> Place:
    return Place(database_url, request.param)


def expected(place: Place, **given: Any) -> dict[str, Any]:
    """Return the keywords of a built-in signal, all but the event."""
    missing = {name: None for name in BUILT_IN_KEYWORDS if name != "event"}
    whole = missing | given
    whole["column_values"] = whole["values"]
    whole["model_instance"] = whole["instance"]
    return loads(dumps(whole)) if place.by_name else whole


async def create(place: Place) -> Any:
    return await place.Item.query.create(**ROW)


PUBLIC = {"id": 1, **{name: ROW[name] for name in ROW if name != "secret"}}
AFTER: dict[str, Any] = {"row_count": 1, "operation_skipped": False}
CHANGED = {
    "price": {"old": ROW["price"], "new": decimal.Decimal("2.00")},
    "at": {"old": AT, "new": None},
    "ref": {"old": KEY, "new": uuid.UUID(int=8)},
    "settings": {"old": {"x": [1]}, "new": {}},
}
NEW = {name: change["new"] for name, change in CHANGED.items()}


# A row


async def test_a_new_row(place: Place) -> None:
    place.connect("post_save")
    async with place.running():
        await create(place)
        (call,) = await place.heard("post_save")
    place.check_sender(call)
    assert place.comparable(call) == expected(
        place, instance=PUBLIC, values=PUBLIC, is_update=False, **AFTER
    )


async def test_a_row_that_is_saved_again(place: Place) -> None:
    place.connect("post_save", when_changed=("name",))
    async with place.running():
        item = await create(place)
        item.name = "b"
        await item.save()
        call = (await place.heard("post_save", 2))[1]
    row = {**PUBLIC, "name": "b"}
    changes = {"name": {"old": "a", "new": "b"}}
    assert place.comparable(call) == expected(
        place, instance=row, values=row, is_update=True, changes=changes, **AFTER
    )


async def test_an_updated_row(place: Place) -> None:
    place.connect("post_update")
    async with place.running():
        item = await create(place)
        await item.update(**NEW, name="a", secret="another")
        (call,) = await place.heard("post_update")
    # What was assigned, also where the value did not change.
    values = {**NEW, "name": "a"}
    assert place.comparable(call) == expected(
        place,
        instance={**PUBLIC, **NEW},
        values=values,
        is_update=True,
        changes=CHANGED,
        **AFTER,
    )


async def test_a_row_that_gets_values_for_nulls(place: Place) -> None:
    place.connect("post_update")
    async with place.running():
        item = await place.Item.query.create(**{**ROW, "at": None, "ref": None})
        await item.update(at=LATER, ref=KEY)
        (call,) = await place.heard("post_update")
    changes = {"at": {"old": None, "new": LATER}, "ref": {"old": None, "new": KEY}}
    given = place.comparable(call)
    wanted = loads(dumps(changes)) if place.by_name else changes
    assert given["changes"] == wanted
    assert given["values"] == {name: wanted[name]["new"] for name in wanted}


async def test_an_update_of_a_secret_field_has_no_public_value(place: Place) -> None:
    place.connect("post_update")
    async with place.running():
        item = await create(place)
        await item.update(secret="another")
        (call,) = await place.heard("post_update")
    assert place.comparable(call) == expected(
        place, instance=PUBLIC, values={}, is_update=True, changes={}, **AFTER
    )
    in_worker = call.given["event"] is not None
    assert ("another" in str(call.given["values"])) is not in_worker


async def test_a_deleted_row(place: Place) -> None:
    place.connect("post_delete")
    async with place.running():
        item = await create(place)
        await item.delete()
        (call,) = await place.heard("post_delete")
    assert place.comparable(call) == expected(place, instance=PUBLIC, **AFTER)


# Sets


async def rows_of(place: Place) -> None:
    await place.Item.query.bulk_create([ROW, {**ROW, "name": "b"}])


async def test_rows_of_a_set_that_is_created(place: Place) -> None:
    place.connect("post_save", rows=True)
    async with place.running():
        await rows_of(place)
        calls = await place.heard("post_save", 2)
    given = sorted(map(place.comparable, calls), key=lambda each: each["instance"]["id"])
    for number, name in ((1, "a"), (2, "b")):
        row = {**PUBLIC, "id": number, "name": name}
        assert given[number - 1] == expected(
            place, instance=row, values=row, is_update=False, **AFTER
        )


@pytest.mark.parametrize("bulk", [False, True])
async def test_rows_of_a_set_that_is_updated(place: Place, bulk: bool) -> None:
    place.connect("post_update", rows=True)
    async with place.running():
        await rows_of(place)
        if bulk:
            items = await place.Item.query.order_by("id")
            for item in items:
                item.at = None
            await place.Item.query.bulk_update(items, ["at"])
        else:
            await place.Item.query.update(at=None)
        calls = await place.heard("post_update", 2)
    given = sorted(map(place.comparable, calls), key=lambda each: each["instance"]["id"])
    for number, name in ((1, "a"), (2, "b")):
        assert given[number - 1] == expected(
            place,
            instance={**PUBLIC, "id": number, "name": name, "at": None},
            values={"at": None},
            is_update=True,
            changes={"at": {"old": AT, "new": None}},
            **AFTER,
        )


async def test_rows_of_a_set_that_is_deleted(place: Place) -> None:
    place.connect("post_delete", rows=True)
    async with place.running():
        await rows_of(place)
        await place.Item.query.delete()
        calls = await place.heard("post_delete", 2)
    given = sorted(map(place.comparable, calls), key=lambda each: each["instance"]["id"])
    for number, name in ((1, "a"), (2, "b")):
        row = {**PUBLIC, "id": number, "name": name}
        assert given[number - 1] == expected(place, instance=row, **AFTER)


async def test_a_set_with_a_single_event(place: Place) -> None:
    place.connect("post_update", rows=True)
    place.connect("post_delete", rows=True)
    async with place.running():
        await rows_of(place)
        await place.Item.query.update(expand=False, at=LATER, secret="another")
        await place.Item.query.delete(expand=False)
        (updated,) = await place.heard("post_update")
        (deleted,) = await place.heard("post_delete")
    for call, values in ((updated, {"at": LATER}), (deleted, None)):
        here = call.given["event"] is None
        # In this process, the receiver may read the set, and gets the keys.
        assert isinstance(call.given["instance"], edgy.QuerySet) is here
        assert call.given["keys"] == ([1, 2] if here else None)
        call.given.update(instance=None, keys=None)
        is_update = None if values is None else True
        assert place.comparable(call) == expected(
            place, values=values, is_update=is_update, row_count=2, operation_skipped=False
        )


async def test_a_receiver_of_sets_is_called_once_here_and_by_row_in_workers(place: Place) -> None:
    place.connect("post_update")
    async with place.running():
        await rows_of(place)
        await place.Item.query.update(at=LATER)
        in_worker = place.where.startswith("worker")
        calls = await place.heard("post_update", 2 if in_worker else 1)
    for call in calls:
        assert set(call.given) == set(BUILT_IN_KEYWORDS)


# Batches


async def test_a_batch_receiver(place: Place) -> None:
    if place.where.startswith("here"):
        pytest.skip("batches are for workers")
    place.connect("post_save", batch=edgy.Batch(size=1))
    async with place.running():
        await create(place)
        (call,) = await place.heard("post_save")
    assert set(call.given) == {"instances", "events"}
    assert list(map(_public, call.given["instances"])) == [
        loads(dumps(PUBLIC)) if place.where == "worker by name" else PUBLIC
    ]
    assert [event is None for event in call.given["events"]] == [place.broker is None]


# Before the operation


Operation = Callable[[Place, Any], Awaitable[Any]]

BEFORE: dict[str, tuple[str, Operation]] = {
    "create": ("pre_save", lambda place, _: create(place)),
    "save": ("pre_save", lambda _, item: item.save()),
    "update": ("pre_update", lambda _, item: item.update(at=LATER)),
    "delete": ("pre_delete", lambda _, item: item.delete()),
    "set": ("pre_update", lambda place, _: place.Item.query.update(at=LATER)),
    "deleted set": ("pre_delete", lambda place, _: place.Item.query.delete()),
    "bulk": ("pre_save", lambda place, _: rows_of(place)),
}


@pytest.mark.parametrize("operation", BEFORE)
async def test_before_an_operation(database_url: str, operation: str) -> None:
    signal, act = BEFORE[operation]
    given = []
    for where in ("local mode by name", "worker by name"):
        place = Place(database_url, where)
        place.connect(signal)
        async with place.running():
            with place.Item.meta.signals.pre_save.muted():
                item = await create(place)
            await act(place, item)
            (call,) = await place.heard(signal)
        async with place.registry:
            await place.registry.drop_all()
        place.check_sender(call)
        assert set(call.given) == set(BUILT_IN_KEYWORDS)
        if call.given["model_instance"] is None:
            # Sets have an instance and perhaps many values in this process alone.
            call.given["instance"] = None
            if not isinstance(call.given["values"], dict):
                call.given.update(values=None, column_values=None)
        given.append(place.comparable(call))
    here, in_worker = given
    assert here == in_worker
    is_update = {"create": False, "bulk": False, "delete": None, "deleted set": None}
    assert here["is_update"] is is_update.get(operation, True)
    for name in ("changes", "row_count", "operation_skipped", "keys"):
        assert here[name] is None


# Signals that the application sends


@pytest.mark.parametrize("with_instance", [False, True])
async def test_a_custom_signal(place: Place, with_instance: bool) -> None:
    place.connect("on_print")
    async with place.running():
        item = await create(place)
        instance = item if with_instance else None
        await place.Item.meta.signals.on_print.send(
            sender=place.Item, instance=instance, by="mail", copies=2
        )
        (call,) = await place.heard("on_print")
    place.check_sender(call)
    assert set(call.given) == {*CUSTOM_KEYWORDS, "by", "copies"}
    row = (loads(dumps(PUBLIC)) if place.by_name else PUBLIC) if with_instance else None
    assert place.comparable(call) == {
        "instance": row,
        "model_instance": row,
        "by": "mail",
        "copies": 2,
    }


@pytest.mark.parametrize("signal", POST_SIGNALS)
async def test_a_built_in_signal_that_the_application_sends(place: Place, signal: str) -> None:
    place.connect(signal)
    async with place.running():
        with place.Item.meta.signals.post_save.muted():
            item = await create(place)
        await place.Item.meta.signals[signal].send(
            sender=place.Item, instance=item, row_count=5, values={"name": "z"}, why="test"
        )
        (call,) = await place.heard(signal)
    given = place.comparable(call)
    assert given.pop("why") == "test"
    wanted = expected(place, instance=PUBLIC, row_count=5, values={"name": "z"})
    assert given == {**wanted, "column_values": None}


# The documentation


def test_the_table_in_the_documentation_has_every_keyword() -> None:
    page = (Path(__file__).parents[2] / "docs" / "signals.md").read_text()
    section = page.partition("## What a receiver is given")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = [name.strip(" `") for row in rows for name in row.split(",")]
    assert [name for name in BUILT_IN_KEYWORDS if name not in named] == []
    assert set(named) == {*BUILT_IN_KEYWORDS, "sender", "instances", "events"}
    assert len(BUILT_IN) == 6
