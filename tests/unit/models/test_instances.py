"""Operations on an instance: what they write, and what the instance holds after each outcome."""

import copy
import datetime as dt
import uuid
from contextlib import suppress
from typing import Any

import pydantic
import pytest
from pydantic import ConfigDict

from edgy_bus import models as edgy
from edgy_bus.errors import DatabaseError, ObjectNotFound, OperationError, SkipOperation
from edgy_bus.models.state import state_of
from edgy_bus.signals import pre_delete, pre_save, pre_update
from tests.unit.models import declare_user, listen, tables

ADA = {"name": "Ada", "email": "ada@example.org"}
BOB = {"name": "Bob", "email": "bob@example.org"}


class Veto(Exception):
    """A receiver refuses an operation, or a transaction is to be rolled back."""


@pytest.fixture
async def User(sqlite_url):
    async with tables(sqlite_url, declare_user) as model:
        yield model


@pytest.fixture
async def ada(User):
    return await User.query.create(**ADA, settings={"tags": []})


def declare_stamped(shop):
    class Note(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        text: str = edgy.CharField(max_length=10)
        created: dt.datetime = edgy.DateTimeField(auto_now_add=True)
        changed: dt.datetime = edgy.DateTimeField(auto_now=True)

        class Meta:
            registry = shop

    return Note


def everything(instance: Any) -> Any:
    """Return all that an instance holds."""
    return (
        dict(instance.__dict__),
        set(instance.model_fields_set),
        state_of(instance).saved,
        dict(state_of(instance).row),
    )


async def stored(instance: Any) -> Any:
    [row] = await type(instance).query.filter(pk=instance.pk).values()
    return row


# update


async def test_during_pre_update_the_instance_has_its_old_values(User, ada):
    seen = []

    @pre_update(User)
    async def look(sender, instance, values, **kwargs):
        seen.append((instance.name, dict(values)))

    await ada.update(name="Eva", age="36")
    assert seen == [("Ada", {"name": "Eva", "age": 36})]
    assert (ada.name, ada.age) == ("Eva", 36)


async def test_a_pre_update_receiver_may_change_the_values(User, ada):
    @pre_update(User)
    async def change(sender, instance, values, **kwargs):
        values["name"] = values["name"].upper()
        values["age"] = "40"

    calls = listen(User, "post_update")
    await ada.update(name="Eva")
    assert (ada.name, ada.age) == ("EVA", 40)
    row = await stored(ada)
    assert (row["name"], row["age"]) == ("EVA", 40)
    assert calls[0].kwargs["values"] == {"name": "EVA", "age": 40}


async def test_values_count_more_than_assignments_to_the_instance(User, ada):
    @pre_update(User)
    @pre_save(User)
    async def change(sender, instance, values, **kwargs):
        instance.age = 1
        instance.name = "assigned"
        values["name"] = "chosen"

    await ada.update(is_verified=True)
    assert (ada.name, ada.age, ada.is_verified) == ("chosen", 1, True)
    await ada.update(age=2)
    assert ada.age == 2, "the value of the call is a value, too"
    ada.name = "Ada"
    await ada.save()
    assert (await stored(ada))["name"] == "chosen"
    made = await User.query.create(**BOB)
    assert (made.name, made.age) == ("chosen", 1)


@pytest.mark.parametrize("name", ["id", "nmae"])
async def test_a_receiver_cannot_put_what_is_no_field_to_write_into_the_values(User, ada, name):
    @pre_update(User)
    async def change(sender, values, **kwargs):
        values[name] = 7

    before = everything(ada)
    with pytest.raises(OperationError, match=name):
        await ada.update(age=3)
    assert everything(ada) == before


async def test_an_update_whose_values_a_receiver_takes_out_is_skipped(User, ada):
    @pre_update(User)
    async def take_out(sender, values, **kwargs):
        values.clear()

    calls = listen(User, "post_update")
    before = everything(ada)
    await ada.update(age=3)
    assert calls[0].kwargs["operation_skipped"]
    assert everything(ada) == before


async def test_what_was_assigned_before_an_update_stays_unsaved(User, ada):
    ada.name = "Eva"
    ada.settings["tags"].append("new")

    @pre_update(User)
    async def count(sender, instance, **kwargs):
        instance.age = 1

    await ada.update(is_verified=True)
    row = await stored(ada)
    assert (row["name"], row["age"], row["settings"]) == ("Ada", 1, {"tags": []})
    assert (ada.name, ada.settings) == ("Eva", {"tags": ["new"]})
    await ada.save()
    row = await stored(ada)
    assert (row["name"], row["settings"]) == ("Eva", {"tags": ["new"]})


async def test_an_update_of_nothing_sends_nothing(User, ada):
    calls = listen(User, "pre_update", "post_update")
    assert await ada.update() is ada
    assert calls == []


async def test_a_receiver_that_loads_the_row_has_changed_nothing(User, ada):
    other = await User.query.get(pk=ada.pk)
    await other.update(age=50)

    @pre_update(User)
    async def load(sender, instance, **kwargs):
        await instance.load()

    calls = listen(User, "post_update")
    await ada.update(name="Eva")
    assert calls[0].kwargs["values"] == {"name": "Eva"}
    assert ada.age == 50


# save


async def test_save_with_values_assigns_them_for_the_receivers(User, ada):
    seen = []

    @pre_save(User)
    async def look(sender, instance, values, **kwargs):
        seen.append((instance.name, values["name"], values["email"]))

    await ada.save({"name": "Eva"})
    assert seen == [("Eva", "Eva", "ada@example.org")]


async def test_the_second_save_of_a_key_alone_does_nothing(sqlite_url):
    def declare(shop):
        class Tick(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)

            class Meta:
                registry = shop

        return Tick

    async with tables(sqlite_url, declare) as Tick:
        tick = await Tick.query.create()
        calls = listen(Tick, "pre_save", "post_save")
        assert await tick.save() is tick
        assert calls == []


# Refused, skipped and failed operations


OPERATIONS: dict[str, Any] = {
    "update": lambda user: user.update(name="Eva", settings={"theme": "dark"}),
    "save": lambda user: user.save(),
    "save with values": lambda user: user.save({"name": "Eva"}),
    "delete": lambda user: user.delete(),
}


def spoil(User: Any, error: Exception) -> None:
    """Connect receivers that change the instance and the values, and raise."""

    async def refuse(sender: Any, instance: Any, values: Any = None, **kwargs: Any) -> None:
        instance.age = 99
        instance.password = "changed"
        instance.settings["tags"].append("changed")
        if values is not None:
            values["email"] = "changed@example.org"
        raise error

    for connect in (pre_update, pre_save, pre_delete):
        connect(User)(refuse)


@pytest.mark.parametrize("error", [Veto(), SkipOperation()], ids=["refused", "skipped"])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
async def test_a_refused_operation_leaves_the_instance_alone(User, ada, operation, error):
    spoil(User, error)
    ada.is_verified = True
    before, row = everything(ada), await stored(ada)
    before[0]["settings"] = {"tags": []}
    with suppress(Veto):
        await operation(ada)
    assert everything(ada) == before
    assert await stored(ada) == row


@pytest.mark.parametrize("error", [Veto(), SkipOperation()], ids=["refused", "skipped"])
async def test_a_refused_new_row_leaves_the_instance_alone(sqlite_url, error):
    async with tables(sqlite_url, declare_stamped) as Note:

        @pre_save(Note)
        async def refuse(sender, instance, **kwargs):
            instance.text = "changed"
            raise error

        note = Note(text="text")
        before = everything(note)
        with suppress(Veto):
            await note.save()
        assert everything(note) == before
        assert note.created is None


async def test_what_the_database_refuses_leaves_the_instance_alone(User, ada):
    bob = await User.query.create(**BOB)

    @pre_update(User)
    @pre_save(User)
    async def change(sender, instance, **kwargs):
        instance.age = 5

    bob.is_verified = True
    before = everything(bob)
    for operation in (
        lambda: bob.update(email="ada@example.org"),
        lambda: bob.save({"email": "ada@example.org"}),
    ):
        with pytest.raises(DatabaseError):
            await operation()
        assert everything(bob) == before
    new = User(name="New", email="ada@example.org")
    before = everything(new)
    with pytest.raises(DatabaseError):
        await new.save()
    assert everything(new) == before


async def test_what_validation_refuses_leaves_the_instance_alone(User, ada):
    @pre_update(User)
    @pre_save(User)
    async def change(sender, instance, values, **kwargs):
        instance.age = 5
        values["email"] = "nobody"

    before, row = everything(ada), await stored(ada)
    for operation in (lambda: ada.update(name="Eva"), ada.save, lambda: ada.save({"name": "Eva"})):
        with pytest.raises(pydantic.ValidationError, match="email"):
            await operation()
        assert everything(ada) == before
    assert await stored(ada) == row


async def test_a_refused_bulk_leaves_the_instances_alone(User, ada):
    bob = await User.query.create(**BOB)
    rows = [ada, bob]

    @pre_update(User)
    @pre_save(User)
    async def refuse(sender, **kwargs):
        for row in rows:
            row.age = 99
            row.settings["changed"] = True
        raise Veto

    before = [everything(row) for row in rows]
    before[0][0]["settings"] = {"tags": []}
    before[1][0]["settings"] = {}
    with pytest.raises(Veto):
        await User.query.bulk_update(rows, ["name"])
    assert [everything(row) for row in rows] == before
    rows = [User(name="New", email="new@example.org")]
    with pytest.raises(Veto):
        await User.query.bulk_create(rows)
    assert (rows[0].age, rows[0].settings) == (None, {})


async def test_a_row_that_is_gone_leaves_the_instance_alone(User, ada):
    await User.query.delete()

    @pre_update(User)
    async def change(sender, instance, **kwargs):
        instance.age = 5

    before = everything(ada)
    with pytest.raises(ObjectNotFound):
        await ada.update(name="Eva")
    assert everything(ada) == before


# Rollbacks


async def roll_back(database: Any, *operations: Any) -> None:
    with pytest.raises(Veto):
        await _in_transaction(database, operations)


async def _in_transaction(database: Any, operations: Any) -> None:
    async with database.transaction():
        for operation in operations:
            await operation()
        raise Veto


@pytest.fixture
def database(User):
    return User.meta.registry.database


@pytest.mark.parametrize("listened", [False, True])
async def test_a_new_row_that_was_rolled_back_is_inserted_again(User, database, listened):
    if listened:
        listen(User, "pre_save")
    user = User(**ADA)
    before = everything(user)
    await roll_back(database, user.save)
    assert everything(user) == before
    await user.save()
    assert (await stored(user))["name"] == "Ada"


async def test_operations_that_were_rolled_back_are_taken_back_in_turn(User, database, ada):
    before = everything(ada)

    async def assign() -> None:
        ada.settings["tags"].append("x")
        ada.is_verified = True

    await roll_back(
        database,
        lambda: ada.update(name="Eva"),
        assign,
        ada.save,
        lambda: ada.update(name="Ada L."),
        ada.delete,
        ada.save,
        lambda: ada.update(age=7),
    )
    assert (ada.settings, ada.is_verified) == ({"tags": ["x"]}, True), "still assigned"
    values, assigned, saved, row = before
    changed = {"settings": {"tags": ["x"]}, "is_verified": True}
    assert everything(ada) == (values | changed, assigned | {"is_verified"}, saved, row)
    await ada.update(age=8)
    assert (await stored(ada))["age"] == 8


async def test_a_deletion_that_was_rolled_back_leaves_a_saved_instance(User, database, ada):
    await roll_back(database, ada.delete)
    await ada.update(name="Eva")
    await ada.delete()
    assert await User.query.count() == 0


async def test_what_was_assigned_since_survives_a_rollback(User, database, ada):
    async def assign() -> None:
        ada.name = "later"

    await roll_back(database, lambda: ada.update(name="Eva", age=3), assign)
    assert (ada.name, ada.age) == ("later", None)
    await ada.save()
    assert (await stored(ada))["name"] == "later"


async def test_an_unsaved_value_that_returns_to_that_of_the_row_survives_a_rollback(
    User, database, ada
):
    async def assign() -> None:
        ada.name = "Ada"

    assert ada.name == "Ada"
    ada.name = "unsaved"
    await roll_back(database, lambda: ada.update(age=3), assign)
    assert (ada.name, ada.age) == ("Ada", None)


async def test_a_savepoint_that_was_rolled_back_takes_back_its_own(User, database, ada):
    async with database.transaction():
        await ada.update(name="outer")
        await roll_back(database, lambda: ada.update(name="inner", age=3))
        assert (ada.name, ada.age) == ("outer", None)
        new = User(**BOB)
        await roll_back(database, new.save)
        assert new.pk is None
        await new.save()
    assert (await stored(ada))["name"] == "outer"
    assert (await stored(new))["name"] == "Bob"


async def test_a_released_savepoint_is_taken_back_by_the_outer_rollback(User, database, ada):
    async def inner() -> None:
        async with database.transaction():
            await ada.update(name="inner")

    await roll_back(database, inner)
    assert ada.name == "Ada"


async def test_receivers_changes_are_taken_back_by_a_rollback(User, database, ada):
    @pre_update(User)
    async def count(sender, instance, **kwargs):
        instance.settings["tags"].append("counted")
        instance.age = 3

    before = everything(ada)
    before[0]["settings"] = {"tags": []}
    await roll_back(database, lambda: ada.update(name="Eva"))
    assert everything(ada) == before


async def test_receivers_changes_of_many_rows_are_taken_back_by_a_rollback(User, database, ada):
    @pre_save(User)
    async def number(sender, instance, values, **kwargs):
        for row in values:
            row["age"] = 3
        new.settings["tags"] = ["numbered"]

    @pre_update(User)
    async def count(sender, instance, values, **kwargs):
        values[0]["age"] = 3
        ada.settings["tags"].append("counted")

    new = User(name="Bob", email="bob@example.org")
    for instance, operation in (
        (new, lambda: User.query.bulk_create([new])),
        (ada, lambda: User.query.bulk_update([ada], ["name", "settings"])),
    ):
        before = everything(instance)
        before[0]["settings"] = copy.deepcopy(before[0]["settings"])
        await roll_back(database, operation)
        assert everything(instance) == before


async def test_nothing_is_registered_outside_of_a_transaction(User, database, monkeypatch):
    monkeypatch.setattr(database, "on_rollback", None)
    user = await User.query.create(**ADA)
    await user.update(name="Eva")
    await user.delete()


# Keys


async def test_a_changed_key_is_refused_by_every_operation(User, ada):
    ada.id = 77
    for operation in (
        lambda: ada.update(name="Eva"),
        ada.save,
        ada.delete,
        ada.load,
        lambda: User.query.bulk_update([ada], ["name"]),
    ):
        with pytest.raises(OperationError, match="the primary key 'id' of this User was changed"):
            await operation()
    ada.id = 1
    await ada.update(name="Eva")
    with pytest.raises(OperationError, match="the primary key 'id' of this User was changed"):
        await ada.save({"id": 5})
    assert ada.id == 1


async def test_a_receiver_cannot_change_the_key_of_a_row(User, ada):
    @pre_save(User)
    @pre_update(User)
    async def change(sender, instance, **kwargs):
        instance.id = 5

    for operation in (lambda: ada.update(name="Eva"), ada.save):
        with pytest.raises(OperationError, match="primary key 'id'"):
            await operation()
        assert ada.id == 1


async def test_an_instance_without_its_key_is_saved_as_a_copy(sqlite_url):
    async with tables(sqlite_url, declare_stamped) as Note:
        note = await Note.query.create(text="text")
        created = note.created
        note.id = None
        with pytest.raises(OperationError, match="primary key"):
            await note.update(text="x")
        await note.save()
        assert note.id == 2
        assert note.created > created, "the copy was created later"
        assert [row.text for row in await Note.query.order_by("pk")] == ["text", "text"]
        assert (await Note.query.get(pk=1)).created == created


async def test_a_copy_gets_a_key_from_the_default(sqlite_url):
    def declare(shop):
        class Token(edgy.Model):
            id: uuid.UUID = edgy.UUIDField(primary_key=True, default=uuid.uuid4)

            class Meta:
                registry = shop

        return Token

    async with tables(sqlite_url, declare) as Token:
        token = await Token.query.create()
        former, token.id = token.id, None
        await token.save()
        assert former != token.id
        assert await Token.query.count() == 2


async def test_an_instance_in_a_set_stays_there_when_it_is_saved(User, database):
    user = User(**ADA)
    kept = {user: "kept"}
    await user.save()
    same = await User.query.get(pk=user.pk)
    copy = user.model_copy(deep=True)
    assert kept[user] == kept[same] == kept[copy] == "kept"
    assert hash(same) == hash(user)
    bob = await User.query.create(**BOB)
    assert bob not in kept
    del user, kept
    assert hash(await User.query.get(pk=1)) == hash(same), "equal instances have equal hashes"


# Partial instances


async def test_a_partial_instance_writes_what_it_knows(User, ada):
    await ada.update(password="hush", settings={"theme": "dark"})
    part = User.from_snapshot({"id": 1, "name": "Eva", "email": "ada@example.org"})
    assert part.model_fields_set == {"id", "name", "email"}
    assert (part.password, part.settings) == (None, None)
    await part.save()
    row = await stored(ada)
    assert (row["name"], row["password"], row["settings"]) == ("Eva", "hush", {"theme": "dark"})
    assert part.password == "hush", "after the save the whole row is known"


async def test_a_partial_instance_writes_what_was_assigned(User, ada):
    await ada.update(age=3, is_verified=True)
    part = User.from_snapshot({"id": 1, "name": "Ada", "email": "ada@example.org"})
    part.age = None
    part.settings = {"a": 1}
    await part.save()
    row = await stored(ada)
    assert (row["age"], row["settings"], row["is_verified"]) == (None, {"a": 1}, True)


async def test_an_update_of_a_partial_instance_keeps_what_was_assigned(User, ada):
    part = User.from_snapshot({"id": 1, "name": "Ada", "email": "ada@example.org"})
    part.age = 4
    await part.update(name="Eva")
    row = await stored(ada)
    assert (row["name"], row["age"], part.age, part.settings) == ("Eva", None, 4, {"tags": []})


async def test_a_partial_instance_that_is_a_key_alone_writes_nothing(User, ada):
    part = User.from_snapshot({"id": 1})
    calls = listen(User, "pre_save", "post_save")
    await part.save()
    assert calls == []
    await part.save({"age": 3})
    assert (await stored(ada))["age"] == 3


async def test_what_a_partial_instance_does_not_know_is_not_written_by_a_bulk(User, ada):
    part = User.from_snapshot({"id": 1, "name": "Eva"})
    with pytest.raises(OperationError, match="the value of 'age' of this User is unknown"):
        await User.query.bulk_update([part], ["name", "age"])
    part.age = None
    await User.query.bulk_update([part], ["name", "age"])
    assert (await stored(ada))["name"] == "Eva"


async def test_what_a_partial_instance_does_not_know_is_not_sent(User):
    part = User.from_snapshot({"id": 1, "name": "Eva"})
    assert part.snapshot() == {"id": 1, "name": "Eva"}


# Configurations of pydantic


def configured(config: ConfigDict, **keywords: Any) -> Any:
    def declare(shop: Any) -> Any:
        class Thing(edgy.Model):
            model_config = config
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=10, **keywords)
            changed: dt.datetime = edgy.DateTimeField(auto_now=True)

            class Meta:
                registry = shop

        return Thing

    return declare


async def test_a_frozen_model_is_created_and_not_updated(sqlite_url):
    async with tables(sqlite_url, configured(ConfigDict(frozen=True))) as Thing:
        thing = await Thing.query.create(name="a")
        assert thing.changed is not None
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            await thing.update(name="b")
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            await thing.save({"name": "b"})
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            await Thing.query.update(name="b")
        await thing.save()
        await thing.delete()


async def test_an_error_of_a_frozen_field_does_not_show_the_value(sqlite_url):
    declare = configured(ConfigDict(), frozen=True, secret=True)
    async with tables(sqlite_url, declare) as Thing:
        thing = await Thing.query.create(name="a")
        for operation in (lambda: thing.update(name="hush"), lambda: thing.save({"name": "hush"})):
            with pytest.raises(pydantic.ValidationError, match="frozen") as caught:
                await operation()
            assert "hush" not in str(caught.value)
        with pytest.raises(pydantic.ValidationError, match="frozen") as caught:
            thing.name = "hush"
        assert "hush" not in str(caught.value)
        assert caught.value.__cause__ is None


async def test_attributes_beyond_the_fields_are_kept_beside_the_row(sqlite_url):
    async with tables(sqlite_url, configured(ConfigDict(extra="allow"))) as Thing:
        await Thing.query.create(name="a", note="given")
        thing = await Thing.query.get(pk=1)
        thing.note = "transient"
        await thing.update(name="b")
        await thing.save()
        assert (thing.note, thing.model_extra) == ("transient", {"note": "transient"})
        assert (await Thing.query.get(pk=1)).model_extra == {}


async def test_what_pydantic_ignores_is_ignored(sqlite_url):
    async with tables(sqlite_url, configured(ConfigDict(extra="ignore"))) as Thing:
        thing = await Thing.query.create(name="a", note="given")
        await thing.save()
        with pytest.raises(OperationError, match="no field 'note'"):
            await thing.update(note="x")


async def test_the_configuration_holds_for_every_way_of_writing(sqlite_url):
    declare = configured(ConfigDict(str_strip_whitespace=True))
    async with tables(sqlite_url, declare) as Thing:
        thing = await Thing.query.create(name=" a ")
        assert thing.name == "a"
        await thing.update(name=" b ")
        assert thing.name == "b"
        thing.name = " c "
        await thing.save()
        assert thing.name == "c"
        await Thing.query.update(name=" d ")
        assert (await Thing.query.get(pk=1)).name == "d"


async def test_loaded_instances_do_not_share_their_assigned_fields(User, ada):
    first, second = await User.query.get(pk=1), await User.query.get(pk=1)
    first.model_fields_set.discard("name")
    assert "name" in second.model_fields_set
    assert "name" in (await User.query.get(pk=1)).model_fields_set
    assert "name" not in first.model_fields_set


async def test_private_names_of_the_application_are_its_own(sqlite_url):
    def declare(shop):
        class Job(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=9)
            _state: str = "new"
            _stored: int = 0

            class Meta:
                registry = shop

            def _initialise(self):
                raise AssertionError("a method of the application")

            def model_post_init(self, context):
                self._state = f"{self.name} begun"

        return Job

    async with tables(sqlite_url, declare) as Job:
        job = await Job.query.create(name="a")
        await job.update(name="b")
        assert (job._state, job._stored) == ("a begun", 0)
        assert (await Job.query.get(pk=1))._state == "b begun"
        assert job.model_copy()._state == "a begun"


async def test_a_copy_without_a_default_key_is_refused(sqlite_url):
    def declare(shop):
        class Place(edgy.Model):
            code: str = edgy.CharField(max_length=5, primary_key=True)

            class Meta:
                registry = shop

        return Place

    async with tables(sqlite_url, declare) as Place:
        place = await Place.query.create(code="a")
        place.code = None
        with pytest.raises(OperationError, match="needs a key: 'code' has no default"):
            await place.save()
        assert await Place.query.values_list("code", flat=True) == ["a"]


async def test_the_default_key_of_a_copy_is_of_the_type_of_the_key(sqlite_url):
    def declare(shop):
        class Visit(edgy.Model):
            id: uuid.UUID = edgy.UUIDField(primary_key=True, default=lambda: str(uuid.uuid4()))

            class Meta:
                registry = shop

        return Visit

    async with tables(sqlite_url, declare) as Visit:
        visit = await Visit.query.create()
        original = visit.id
        visit.id = None
        await visit.save()
        assert isinstance(visit.id, uuid.UUID)
        assert await Visit.query.count() == 2
        assert visit.id != original


async def test_a_receiver_may_complete_a_change_that_model_post_init_would_refuse(sqlite_url):
    def declare(shop):
        class Stock(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=10, default="good")
            left: int = edgy.IntegerField(default=0)

            class Meta:
                registry = shop

            def model_post_init(self, context):
                if self.name == "bad" and not self.left:
                    raise ValueError("nothing is left of it")

        return Stock

    async with tables(sqlite_url, declare) as Stock:
        stock = await Stock.query.create()
        with pytest.raises(ValueError, match="nothing is left"):
            await stock.update(name="bad")

        @pre_update(Stock)
        async def refill(sender, values, **kwargs):
            values["left"] = 1

        await stock.update(name="bad")
        assert (stock.name, stock.left) == ("bad", 1)
