"""Save, update, delete and read rows as instances, and run the snippets of the seed page."""

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pydantic
import pytest

from edgy_bus import models as edgy
from edgy_bus.codec import dumps, loads
from edgy_bus.database import Database
from edgy_bus.errors import ObjectNotFound, OperationError, SignalError
from edgy_bus.models.state import state_of
from edgy_bus.signals import (
    Signal,
    post_delete,
    post_save,
    post_update,
    pre_delete,
    pre_save,
    pre_update,
)
from tests.unit.models import declare_user, listen, tables

ADA = {"name": "Ada", "email": "ada@example.org"}


def declare_profile(shop):
    class Profile(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        profile_type: str = edgy.CharField(max_length=255)

        class Meta:
            registry = shop

    return Profile


def declare_visit(shop=None):
    class Visit(edgy.Model):
        id: uuid.UUID = edgy.UUIDField(primary_key=True, default=uuid.uuid4)
        day: dt.date | None = edgy.DateField(null=True)
        price: Decimal | None = edgy.DecimalField(max_digits=8, decimal_places=2, null=True)
        weight: float | None = edgy.FloatField(null=True)
        note: str | None = edgy.TextField(null=True)
        tags: list[Any] = edgy.JSONField(default=list)
        created: dt.datetime = edgy.DateTimeField(auto_now_add=True)
        changed: dt.datetime = edgy.DateTimeField(auto_now=True)

        class Meta:
            registry = shop

    return Visit


Draft, Trip = declare_user(), declare_visit()
"""Models without a database, for what needs none."""


@pytest.fixture
async def User(sqlite_url):
    async with tables(sqlite_url, declare_user) as model:
        yield model


@pytest.fixture
async def Visit(sqlite_url):
    async with tables(sqlite_url, declare_visit) as model:
        yield model


# The seed page


async def test_page_a_notification_is_sent_after_the_creation(User):
    sent = []

    def send_notification(email: str) -> None:
        sent.append(email)

    @post_save(User)
    async def after_creation(sender, instance, **kwargs):
        send_notification(instance.email)

    await User.query.create(**ADA)
    assert sent == ["ada@example.org"]
    await User(name="Bob", email="bob@example.org").save()
    assert sent == ["ada@example.org", "bob@example.org"]


async def test_page_every_default_signal_is_triggered_on_the_model_and_on_the_query(User):
    seen = []

    def note(name):
        async def receiver(sender, instance, **kwargs):
            assert sender is User
            seen.append(name)

        return receiver

    for connector in (pre_save, post_save, pre_update, post_update, pre_delete, post_delete):
        connector(User)(note(connector.name))
    user = await User(**ADA).save()
    await User.query.create(name="Bob", email="bob@example.org")
    assert seen == ["pre_save", "post_save"] * 2
    seen.clear()
    await user.update(name="Ada L.")
    await User.query.update(age=36)
    assert seen == ["pre_update", "post_update"] * 2
    seen.clear()
    await user.delete()
    await User.query.delete()
    assert seen == ["pre_delete", "post_delete"] * 2


async def test_page_the_row_exists_in_post_save_and_not_in_pre_save(User):
    found = []

    @pre_save(User)
    @post_save(User)
    async def look(sender, instance, **kwargs):
        found.append(await User.query.exists(email=instance.email))

    await User.query.create(**ADA)
    assert found == [False, True]


async def test_page_the_row_is_gone_in_post_delete_and_not_in_pre_delete(User):
    found = []

    @pre_delete(User)
    @post_delete(User)
    async def look(sender, instance, **kwargs):
        found.append(await User.query.exists(email=instance.email))

    user = await User.query.create(**ADA)
    await user.delete()
    assert found == [True, False]


async def test_page_one_receiver_for_several_models(sqlite_url):
    async with tables(sqlite_url, declare_user, declare_profile) as (User, Profile):
        seen = []

        @post_save([User, Profile])
        async def after_creation(sender, instance, **kwargs):
            seen.append(
                instance.email if isinstance(instance, User) else (sender, instance.profile_type)
            )

        await User.query.create(**ADA)
        await Profile.query.create(profile_type="author")
        assert seen == ["ada@example.org", (Profile, "author")]


async def test_page_several_receivers_for_one_model(User):
    seen = []

    @post_save(User)
    async def after_creation(sender, instance, **kwargs):
        seen.append(f"mail to {instance.email}")

    @post_save(User)
    async def do_something_else(sender, instance, **kwargs):
        seen.append(f"push to {instance.email}")

    await User.query.create(**ADA)
    assert seen == ["mail to ada@example.org", "push to ada@example.org"]


async def test_page_a_receiver_is_disconnected_through_the_model(User):
    seen = []

    @post_save(User)
    async def after_creation(sender, instance, **kwargs):
        seen.append(instance)

    User.meta.signals.post_save.disconnect(after_creation)
    await User.query.create(**ADA)
    assert seen == []


async def test_page_a_receiver_is_disconnected_through_an_instance(User):
    seen = []

    @post_save(User)
    async def after_creation(sender, instance, **kwargs):
        seen.append(instance)

    user = await User.query.create(**ADA)
    user.signals.post_save.disconnect(after_creation)
    await User.query.create(name="Bob", email="bob@example.org")
    assert seen == [user]


async def test_page_a_receiver_of_two_models_is_disconnected_from_one(sqlite_url):
    async with tables(sqlite_url, declare_user, declare_profile) as (User, Profile):
        seen = []

        @post_save([User, Profile])
        async def after_creation(sender, instance, **kwargs):
            seen.append(sender)

        User.meta.signals.post_save.disconnect(after_creation)
        await User.query.create(**ADA)
        await Profile.query.create(profile_type="author")
        assert seen == [Profile]


async def test_page_a_custom_signal_is_declared_connected_and_sent(User):
    seen = []
    User.meta.signals.on_verify = Signal()

    async def trigger_notifications(sender, instance, **kwargs):
        seen.append((sender, instance.email))

    User.meta.signals.on_verify.connect(trigger_notifications)

    async def is_verified_user(id: int):
        user = await User.query.get(pk=id)
        if user.is_verified:
            await User.meta.signals.on_verify.send(sender=User, instance=user)

    ada = await User.query.create(**ADA)
    await is_verified_user(ada.id)
    assert seen == []
    await ada.update(is_verified=True)
    await is_verified_user(ada.id)
    assert seen == [(User, "ada@example.org")]

    User.meta.signals.on_verify.disconnect(trigger_notifications)
    await is_verified_user(ada.id)
    assert len(seen) == 1


def test_page_a_custom_signal_is_class_level():
    User = declare_user()
    User.meta.signals.on_verify = Signal()
    assert User(**ADA).signals.on_verify is User.meta.signals.on_verify


async def test_page_a_misspelt_custom_signal_is_an_error():
    User = declare_user()
    User.meta.signals.on_verify = Signal()
    with pytest.raises(
        SignalError, match=r"User has no signal 'on_verfiy': did you mean 'on_verify'\?"
    ):
        await User.meta.signals.on_verfiy.send(sender=User, instance=None)


# Saving


async def test_saving_inserts_and_gives_the_instance_its_key(User):
    user = User(**ADA)
    assert user.pk is None
    assert await user.save() is user
    assert (user.pk, user.id) == (1, 1)
    assert await User.query.get(pk=1) == user


async def test_saving_again_updates_the_row(User):
    user = await User.query.create(**ADA)
    user.name = "Ada L."
    await user.save()
    assert [one.name for one in await User.query.all()] == ["Ada L."]


async def test_saving_what_was_loaded_updates_the_row(User):
    await User.query.create(**ADA)
    loaded = await User.query.get(email="ada@example.org")
    await loaded.save({"name": "Ada L.", "age": 36})
    assert (loaded.name, loaded.age) == ("Ada L.", 36)
    assert [(one.name, one.age) for one in await User.query.all()] == [("Ada L.", 36)]


async def test_saving_with_an_unknown_field_is_refused(User):
    user = User(**ADA)
    with pytest.raises(OperationError, match="User has no field 'nmae': did you mean 'name'"):
        await user.save({"nmae": "Ada"})
    assert await User.query.count() == 0


async def test_saving_a_row_that_is_gone_is_an_error(User):
    user = await User.query.create(**ADA)
    await User.query.delete()
    with pytest.raises(ObjectNotFound, match="the User with id 1 is not there any more"):
        await user.save()


async def test_a_key_of_choice_is_kept(User):
    assert (await User.query.create(id=42, **ADA)).id == 42
    assert await User.query.exists(pk=42)


async def test_a_key_can_be_made_by_a_default(Visit):
    visit = Visit()
    key = visit.id
    await visit.save()
    assert visit.id == key
    assert (await Visit.query.get(pk=key)).id == key


async def test_a_model_that_is_a_key_alone_can_be_saved(sqlite_url):
    def declare(shop):
        class Ticket(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)

            class Meta:
                registry = shop

        return Ticket

    async with tables(sqlite_url, declare) as Ticket:
        assert [(await Ticket.query.create()).id for _ in range(2)] == [1, 2]


async def test_a_key_is_not_given_out_again(User):
    user = await User.query.create(**ADA)
    await user.delete()
    assert (await User.query.create(**ADA)).id == user.id + 1


# Validation


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": "x" * 21}, "name"),
        ({"name": 5}, "name"),
        ({"name": None}, "name"),
        ({"email": "nobody"}, "email"),
        ({"age": 2**31}, "age"),
        ({"age": "old"}, "age"),
        ({"id": 2**63}, "id"),
        ({"settings": [1]}, "settings"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_a_field_may_not_hold_is_refused_when_an_instance_is_made(values, field):
    with pytest.raises(pydantic.ValidationError) as caught:
        Draft(**(ADA | values))
    assert [error["loc"][0] for error in caught.value.errors()] == [field]


def test_a_field_without_a_default_is_required():
    with pytest.raises(pydantic.ValidationError, match="email"):
        Draft(name="Ada")


async def test_a_default_that_the_field_may_not_hold_is_not_saved(sqlite_url):
    def declare(own):
        class Careless(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=3, default="nobody")

            class Meta:
                registry = own

        return Careless

    async with tables(sqlite_url, declare) as model:
        with pytest.raises(pydantic.ValidationError, match="name"):
            await model.query.create()


async def test_saving_validates_what_was_assigned_since(User):
    user = User(**ADA)
    user.name = "x" * 21
    with pytest.raises(pydantic.ValidationError, match="name"):
        await user.save()
    assert await User.query.count() == 0
    user.name = "Ada"
    await user.save()
    user.email = "nobody"
    with pytest.raises(pydantic.ValidationError, match="email"):
        await user.save()
    assert (await User.query.get(pk=user.pk)).email == "ada@example.org"


async def test_saving_converts_what_pydantic_converts(User):
    user = User(**ADA)
    user.age = "36"
    await user.save()
    assert user.age == 36


async def test_updating_validates_and_converts(User):
    user = await User.query.create(**ADA)
    with pytest.raises(pydantic.ValidationError, match="name"):
        await user.update(name="x" * 21)
    assert user.name == "Ada"
    await user.update(age="36")
    assert user.age == 36
    assert (await User.query.get(pk=user.pk)).age == 36


async def test_updating_leaves_what_was_assigned_before_unsaved(User):
    user = await User.query.create(**ADA)
    user.name = "x" * 21
    await user.update(age=36)
    assert [(one.name, one.age) for one in await User.query.all()] == [("Ada", 36)]
    assert user.name == "x" * 21
    with pytest.raises(pydantic.ValidationError, match="name"):
        await user.save()
    assert user.name == "x" * 21, "a save that is refused changes nothing, the instance included"
    user.name = "Eva"
    await user.save()
    assert (await User.query.get(pk=user.pk)).name == "Eva"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_float_that_json_does_not_know_is_refused(value):
    with pytest.raises(pydantic.ValidationError, match="weight"):
        Trip(weight=value)


@pytest.mark.parametrize("value", ["1.234", "1234567.00"])
def test_a_decimal_with_too_many_digits_is_refused(value):
    with pytest.raises(pydantic.ValidationError, match="price"):
        Trip(price=value)


def test_null_must_be_allowed():
    assert Trip(note=None).note is None
    with pytest.raises(pydantic.ValidationError, match="is_verified"):
        Draft(**ADA, is_verified=None)


# Updating, deleting, loading


async def test_updating_writes_the_given_fields(User):
    user = await User.query.create(**ADA)
    other = await User.query.get(pk=user.pk)
    await other.update(age=36)
    assert await user.update(name="Ada L.") is user
    row = await User.query.get(pk=user.pk)
    assert (row.name, row.age) == ("Ada L.", 36)
    assert (user.name, user.age) == ("Ada L.", 36), "what the database returned is taken over"


async def test_updating_an_unknown_field_is_refused(User):
    user = await User.query.create(**ADA)
    with pytest.raises(OperationError, match="User has no field 'nmae': did you mean 'name'"):
        await user.update(nmae="Eva")


async def test_updating_the_key_is_refused(User):
    user = await User.query.create(**ADA)
    with pytest.raises(OperationError, match="the primary key 'id' cannot be changed"):
        await user.update(id=7)
    assert user.id == 1


async def test_updating_a_row_that_is_gone_is_an_error(User):
    user = await User.query.create(**ADA)
    await User.query.delete()
    with pytest.raises(ObjectNotFound, match="the User with id 1 is not there any more"):
        await user.update(name="Eva")


async def test_what_was_never_saved_can_neither_be_updated_nor_deleted(User):
    calls = listen(User, "pre_update", "pre_delete")
    with pytest.raises(OperationError, match="cannot update a User that was never saved"):
        await User(**ADA).update(name="Eva")
    with pytest.raises(OperationError, match="cannot delete a User that was never saved"):
        await User(**ADA).delete()
    assert calls == []


async def test_deleting_answers_whether_there_was_a_row(User):
    user, same = await User.query.create(**ADA), await User.query.get(name="Ada")
    assert await user.delete() == 1
    assert await same.delete() == 0
    assert await User.query.count() == 0


async def test_what_was_deleted_can_be_saved_as_a_new_row(User):
    user = await User.query.create(**ADA)
    await user.delete()
    with pytest.raises(OperationError, match="never saved, or was deleted"):
        await user.update(name="Eva")
    await user.save()
    assert await User.query.get(pk=user.pk) == user


async def test_loading_reads_the_row_again(User):
    user = await User.query.create(**ADA)
    await User.query.update(name="Eva")
    assert await user.load() is user
    assert user.name == "Eva"
    calls = listen(User, "post_save")
    await user.save()
    assert calls[0].kwargs["changes"] == {}
    await user.delete()
    with pytest.raises(ObjectNotFound):
        await user.load()


def test_the_query_belongs_to_the_class():
    with pytest.raises(OperationError, match=r"write User\.query"):
        _ = Draft(**ADA).query


async def test_instances_are_equal_when_they_are_the_same_row(User):
    ada, bob = (
        await User.query.create(**ADA),
        await User.query.create(name="Bob", email="bob@example.org"),
    )
    assert ada == await User.query.get(name="Ada") != bob
    assert len({ada, await User.query.get(name="Ada"), bob}) == 2
    assert User(**ADA) != User(**ADA), "what has no key yet is equal to itself alone"


# Types


async def test_every_type_comes_back_as_it_was(Visit):
    values = {
        "id": uuid.uuid4(),
        "day": dt.date(2026, 2, 28),
        "price": Decimal("123456.70"),
        "weight": 0.1,
        "note": "ünïcödé % ' \"",
        "tags": ["a", {"b": [1, 2.5, None, True]}],
        "created": dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    }
    await Visit.query.create(**values)
    visit = await Visit.query.get(pk=values["id"])
    assert visit.field_values() == values | {"changed": visit.changed}
    assert (visit.created.tzinfo, str(visit.price)) == (dt.UTC, "123456.70")


async def test_a_time_without_a_zone_is_taken_to_be_utc(Visit):
    visit = await Visit.query.create(created=dt.datetime(2026, 1, 2, 3, 4, 5))
    assert visit.created == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


async def test_auto_now_add_is_set_once_and_auto_now_at_every_save(Visit):
    past = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    visit = await Visit.query.create()
    assert past < visit.created <= visit.changed
    await Visit.query.exclude(pk=None).update(created=past, changed=past)
    await visit.load()
    await visit.save()
    assert visit.created == past < visit.changed
    for update in (visit.update, Visit.query.update):
        await visit.load()
        visit.changed = past
        await visit.save()
        await Visit.query.update(changed=past)
        await update(note="later")
        await visit.load()
        assert visit.changed > past


async def test_auto_now_add_keeps_what_was_given(Visit):
    past = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
    assert (await Visit.query.create(created=past)).created == past


def test_a_default_is_not_shared_between_instances():
    one, other = Trip(), Trip()
    one.tags.append("x")
    assert other.tags == []
    assert one.id != other.id


# What changed


async def test_json_that_is_changed_in_place_shows_in_the_changes(User):
    user = await User.query.create(**ADA, settings={"theme": {"colour": "red"}})
    calls = listen(User, "post_save")
    user.settings["theme"]["colour"] = "blue"
    await user.save()
    expected = {"old": {"theme": {"colour": "red"}}, "new": {"theme": {"colour": "blue"}}}
    assert calls[0].kwargs["changes"] == {"settings": expected}
    assert (await User.query.get(pk=user.pk)).settings == {"theme": {"colour": "blue"}}


async def test_json_that_is_changed_in_place_waits_for_a_save(User):
    await User.query.create(**ADA, settings={"tags": []})
    user = await User.query.get(name="Ada")
    calls = listen(User, "post_update")
    user.settings["tags"].append("new")
    await user.update(name="Eva")
    assert calls[0].kwargs["changes"] == {"name": {"old": "Ada", "new": "Eva"}}
    assert (await User.query.get(pk=user.pk)).settings == {"tags": []}
    await user.save()
    assert (await User.query.get(pk=user.pk)).settings == {"tags": ["new"]}


# Secrets


async def test_a_secret_is_stored_and_read_but_never_shown(User):
    await User.query.create(**ADA, password="hush")
    user = await User.query.get(name="Ada")
    assert user.password == "hush"
    assert "password" not in user.snapshot()
    assert user.snapshot() == {
        "id": 1,
        "name": "Ada",
        "email": "ada@example.org",
        "age": None,
        "is_verified": False,
        "settings": {},
    }
    for shown in (repr(user), str(user), f"{user!r}"):
        assert "hush" not in shown
        assert "password" not in shown


async def test_a_secret_is_not_among_the_changes(User):
    user = await User.query.create(**ADA, password="hush")
    calls = listen(User, "post_save", "post_update")
    user.password = "hush2"
    user.name = "Eva"
    await user.save()
    await user.update(password="hush3")
    assert [call.kwargs["changes"] for call in calls] == [
        {"name": {"old": "Ada", "new": "Eva"}},
        {},
    ]
    assert (await User.query.get(pk=user.pk)).password == "hush3"


async def test_an_error_does_not_show_what_was_given(User):
    texts = []
    with pytest.raises(pydantic.ValidationError) as caught:
        User(**ADA, password="hush hush hush")
    texts.append(str(caught.value))
    user = await User.query.create(**ADA)
    with pytest.raises(pydantic.ValidationError) as caught:
        await user.update(password="hush hush hush")
    texts.append(str(caught.value))
    with pytest.raises(ObjectNotFound) as missing:
        await User.query.get(password="hush")
    texts.append(str(missing.value))
    with pytest.raises(pydantic.ValidationError) as caught:
        User.from_snapshot({"id": "hush"})
    texts.append(str(caught.value))
    for text in texts:
        assert "hush" not in text


# Snapshots


async def test_a_snapshot_survives_json(Visit):
    visit = await Visit.query.create(
        day=dt.date(2026, 2, 28), price=Decimal("1.50"), weight=0.1, note="n", tags=[{"a": 1}]
    )
    read = Visit.from_snapshot(loads(dumps(visit.snapshot())))
    assert read.field_values() == visit.field_values()
    assert (type(read.id), type(read.day), type(read.price)) == (uuid.UUID, dt.date, Decimal)
    assert read.created.tzinfo is not None


def test_a_snapshot_may_lack_fields_and_hold_others():
    read = Draft.from_snapshot({"id": 7, "name": "Ada", "colour": "red"})
    assert read.field_values() == dict.fromkeys(Draft.meta.fields) | {"id": 7, "name": "Ada"}
    assert not hasattr(read, "colour")


def test_a_snapshot_is_read_though_a_rule_is_stricter_now():
    assert Draft.from_snapshot({"id": 7, "name": "x" * 21, "email": "nobody"}).name == "x" * 21


def test_a_snapshot_whose_values_are_of_another_type_is_refused():
    with pytest.raises(pydantic.ValidationError, match="age"):
        Draft.from_snapshot({"id": 7, "age": "old"})


async def test_what_was_read_from_a_snapshot_is_known_to_be_stored(User):
    user = await User.query.create(**ADA, password="hush")
    read = User.from_snapshot(user.snapshot())
    calls = listen(User, "post_update")
    await read.update(name="Eva")
    assert calls[0].kwargs["changes"] == {"name": {"old": "Ada", "new": "Eva"}}
    assert (await User.query.get(pk=user.pk)).password == "hush", (
        "what the snapshot did not hold stays"
    )


async def test_what_a_user_does_when_an_instance_is_made_is_done_for_rows_too(sqlite_url):
    made = []
    own = edgy.Registry(Database(sqlite_url))

    class Note(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        _seen: int = 3

        class Meta:
            registry = own

        def model_post_init(self, context):
            super().model_post_init(context)
            made.append(type(self))

    class Plain(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = own

    note = Note.from_row({"id": 1})
    assert (made, note._seen, state_of(note).row) == ([Note], 3, {"id": 1})
    plain = Plain.from_row({"id": 1})
    assert Plain.meta.plain
    assert not Note.meta.plain
    assert plain == Plain.from_row({"id": 1})
    assert state_of(plain.model_copy()).row == {"id": 1}
    assert plain.model_fields_set == {"id"}
