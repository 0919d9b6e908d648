"""Operations: the calls of receivers, what receivers may change, and the writer of a bus."""

import pydantic
import pytest

from edgy_bus import models as edgy
from edgy_bus.signals import (
    Options,
    Signal,
    post_delete,
    post_save,
    post_update,
    pre_delete,
    pre_save,
    pre_update,
)
from edgy_bus.sources import changes_of
from tests.unit.models import ABSENT, declare_user, listen, tables

ADA = {"name": "Ada", "email": "ada@example.org"}
BOB = {"name": "Bob", "email": "bob@example.org"}
SAVED = ADA | {"id": 1, "age": None, "is_verified": False, "settings": {}, "password": ""}


class Veto(Exception):
    """A receiver does not want it, or somebody wants a transaction to be rolled back."""


async def create_in_vain(User, **values):
    """Create a row in a transaction that is rolled back."""
    with pytest.raises(Veto):
        await _create_and_fail(User, values)


async def _create_and_fail(User, values):
    async with User.meta.registry.database.transaction():
        await User.query.create(**values)
        raise Veto


@pytest.fixture
async def User(sqlite_url):
    async with tables(sqlite_url, declare_user) as model:
        yield model


@pytest.fixture
async def database(User):
    return User.meta.registry.database


# What receivers are called with


async def test_receivers_of_a_new_row_get_its_values(User):
    calls = listen(User, "pre_save", "post_save")
    user = await User.query.create(**ADA)
    before, after = calls
    assert (before.sender, before.instance) == (after.sender, after.instance) == (User, user)
    shared = ABSENT | {"model_instance": user, "is_update": False}
    values = SAVED | {"id": None}
    assert before.kwargs == shared | {"values": values, "column_values": values}
    written = {"values": SAVED, "column_values": SAVED, "row_count": 1, "operation_skipped": False}
    assert after.kwargs == shared | written


async def test_receivers_of_a_row_that_is_saved_again_get_what_changed(User):
    user = await User.query.create(**ADA)
    calls = listen(User, "pre_save", "post_save")
    user.name = "Eva"
    await user.save({"age": 36})
    before, after = calls
    values = SAVED | {"name": "Eva", "age": 36}
    given = {"model_instance": user, "values": values, "column_values": values, "is_update": True}
    shared = ABSENT | given
    assert before.kwargs == shared
    changes = {"name": {"old": "Ada", "new": "Eva"}, "age": {"old": None, "new": 36}}
    assert after.kwargs == shared | {"row_count": 1, "operation_skipped": False, "changes": changes}


async def test_receivers_of_an_update_get_the_assigned_values(User):
    user = await User.query.create(**ADA)
    calls = listen(User, "pre_update", "post_update")
    await user.update(age="36", name="Ada")
    before, after = calls
    values = {"age": 36, "name": "Ada"}
    given = {"model_instance": user, "values": values, "column_values": values, "is_update": True}
    shared = ABSENT | given
    assert before.kwargs == shared
    assert after.kwargs == shared | {
        "row_count": 1,
        "operation_skipped": False,
        "changes": {"age": {"old": None, "new": 36}},
    }


async def test_receivers_of_a_deletion_get_the_instance(User):
    user = await User.query.create(**ADA)
    calls = listen(User, "pre_delete", "post_delete")
    await user.delete()
    assert [call.instance for call in calls] == [user, user]
    assert [call.kwargs for call in calls] == [
        ABSENT | {"model_instance": user},
        ABSENT | {"model_instance": user, "row_count": 1, "operation_skipped": False},
    ]


async def test_receivers_of_a_set_that_is_updated_are_called_once_with_the_set(User):
    await User.query.bulk_create([ADA, BOB, {"name": "Eva", "email": "eva@example.org"}])
    calls = listen(User, "pre_update", "post_update")
    query = User.query.filter(pk__gt=1)
    assert await query.update(age=17) == 2
    before, after = calls
    assert before.instance is after.instance is query
    shared = ABSENT | {
        "values": {"age": 17},
        "column_values": {"age": 17},
        "is_update": True,
    }
    assert before.kwargs == shared
    assert after.kwargs == shared | {"row_count": 2, "operation_skipped": False, "keys": [2, 3]}


async def test_receivers_of_a_set_that_is_deleted_are_called_once_with_the_set(User):
    await User.query.bulk_create([ADA, BOB])
    calls = listen(User, "pre_delete", "post_delete")
    query = User.query.filter(pk__gte=1)
    await query.delete()
    before, after = calls
    assert before.instance is after.instance is query
    assert before.kwargs == ABSENT
    assert after.kwargs == ABSENT | {
        "row_count": 2,
        "operation_skipped": False,
        "keys": [1, 2],
    }


async def test_receivers_of_a_set_without_rows_are_called_too(User):
    calls = listen(User, "post_update", "post_delete")
    await User.query.update(age=17)
    await User.query.delete()
    assert [(call.kwargs["row_count"], call.kwargs["keys"]) for call in calls] == [(0, []), (0, [])]


async def test_post_receivers_see_the_instance_as_the_database_has_it(User):
    seen = []

    @post_save(User)
    async def receiver(sender, instance, **kwargs):
        seen.append((instance.pk, await User.query.get(pk=instance.pk)))

    user = await User.query.create(**ADA)
    assert seen == [(1, user)]


async def test_the_sender_is_the_class_of_the_row_and_receivers_are_inherited(sqlite_url):
    def declare_admin(shop):
        class Admin(declare_user(shop)):
            level: int = edgy.IntegerField(default=1)

        return Admin

    async with tables(sqlite_url, declare_admin) as Admin:
        (User,) = Admin.__bases__
        calls = listen(User, "post_save")
        await Admin.query.create(**ADA)
        await User.query.create(**BOB)
        assert [call.sender for call in calls] == [Admin, User]
        assert (await Admin.query.count(), await User.query.count()) == (1, 1), (
            "each has a table of its own"
        )


# What receivers may do


async def test_a_pre_save_receiver_may_change_what_is_written(User):
    @pre_save(User)
    async def tidy(sender, instance, **kwargs):
        instance.name = instance.name.strip()

    calls = listen(User, "post_save")
    user = await User.query.create(name="  Ada ", email="ada@example.org")
    assert user.name == "Ada"
    user.name = " Eva"
    await user.save()
    assert (await User.query.get(pk=1)).name == "Eva"
    assert calls[1].kwargs["changes"] == {"name": {"old": "Ada", "new": "Eva"}}


async def test_a_pre_update_receiver_may_change_what_is_written(User):
    user = await User.query.create(**ADA)

    @pre_update(User)
    async def count(sender, instance, **kwargs):
        instance.settings["updates"] = 1

    calls = listen(User, "post_update")
    await user.update(name="Eva")
    assert (await User.query.get(pk=1)).settings == {"updates": 1}
    assert set(calls[0].kwargs["changes"]) == {"name", "settings"}


async def test_a_pre_save_receiver_of_many_rows_may_not_spoil_them(User):
    @pre_save(User)
    async def spoil(sender, instance, **kwargs):
        for one in rows:
            one.email = "nobody"

    rows = [User(**ADA), User(**BOB)]
    with pytest.raises(pydantic.ValidationError, match="email"):
        await User.query.bulk_create(rows)
    assert await User.query.count() == 0


@pytest.mark.parametrize("field", ["name", "email"])
async def test_what_a_pre_receiver_sets_is_validated(User, field):
    user = await User.query.create(**ADA)

    @pre_save(User)
    @pre_update(User)
    async def spoil(sender, instance, **kwargs):
        setattr(instance, field, "x" * 21)

    with pytest.raises(pydantic.ValidationError, match=field):
        await user.update(age=36)
    with pytest.raises(pydantic.ValidationError, match=field):
        await user.save()
    with pytest.raises(pydantic.ValidationError, match=field):
        await User.query.create(**BOB)
    (row,) = await User.query.all()
    assert (row.name, row.email, row.age) == ("Ada", "ada@example.org", None)


async def test_a_pre_receiver_may_veto_and_nothing_is_written(User):
    user = await User.query.create(**ADA)
    after = listen(User, "post_save", "post_update", "post_delete")

    @pre_save(User)
    @pre_update(User)
    @pre_delete(User)
    async def veto(sender, instance, **kwargs):
        raise Veto

    operations = [
        lambda: User.query.create(**BOB),
        lambda: User.query.bulk_create([BOB]),
        lambda: user.save({"name": "Eva"}),
        lambda: user.update(name="Eva"),
        lambda: User.query.update(name="Eva"),
        user.delete,
        User.query.delete,
    ]
    for operation in operations:
        with pytest.raises(Veto):
            await operation()
    assert [one.name for one in await User.query.all()] == ["Ada"]
    assert after == []


async def test_a_veto_leaves_the_receivers_after_it_alone(User):
    @pre_save(User)
    async def veto(sender, instance, **kwargs):
        raise Veto

    later = listen(User, "pre_save")
    with pytest.raises(Veto):
        await User.query.create(**ADA)
    assert later == []


async def test_what_a_post_receiver_raises_reaches_the_caller_and_the_row_stays(User):
    @post_save(User)
    @post_update(User)
    @post_delete(User)
    async def broken(sender, instance, **kwargs):
        raise Veto

    with pytest.raises(Veto):
        await User.query.create(**ADA)
    (user,) = await User.query.all()
    with pytest.raises(Veto):
        await user.update(name="Eva")
    assert (await User.query.get(pk=1)).name == "Eva"
    with pytest.raises(Veto):
        await user.delete()
    assert await User.query.count() == 0


async def test_what_a_post_receiver_raises_inside_a_transaction_rolls_it_back(User, database):
    @post_save(User)
    async def broken(sender, instance, **kwargs):
        raise Veto

    with pytest.raises(Veto):
        async with database.transaction():
            await User.query.create(**ADA)
    assert await User.query.count() == 0


async def test_a_receiver_may_write_in_the_transaction_of_the_operation(User):
    @post_save(User)
    async def welcome(sender, instance, **kwargs):
        if instance.name == "Ada":
            await User.query.create(**BOB)

    await create_in_vain(User, **ADA)
    assert await User.query.count() == 0
    await User.query.create(**ADA)
    assert await User.query.count() == 2


# When changed


async def test_a_receiver_of_some_fields_is_called_when_one_of_them_changed(User):
    calls = listen(User, "post_save", "post_update", when_changed=["email", "age"])
    user = await User.query.create(**ADA)
    assert len(calls) == 1, "everything about a new row is new"
    await user.update(name="Eva")
    await user.update(email="ada@example.org")
    await user.save()
    assert len(calls) == 1
    await user.update(email="eva@example.org")
    user.age = 36
    await user.save()
    assert len(calls) == 3


async def test_a_receiver_of_some_fields_is_called_when_nobody_knows_what_changed(User):
    await User.query.create(**ADA)
    calls = listen(User, "post_update", when_changed=["email"])
    await User.query.update(name="Eva")
    assert len(calls) == 1


async def test_a_receiver_of_some_fields_is_called_when_json_changed_in_place(User):
    user = await User.query.create(**ADA)
    calls = listen(User, "post_save", when_changed=["settings"])
    await user.save()
    assert calls == []
    user.settings["theme"] = "dark"
    await user.save()
    assert len(calls) == 1


# On commit


async def test_a_receiver_on_commit_waits_for_the_outermost_commit(User, database):
    at_once, later = listen(User, "post_save"), listen(User, "post_save", on_commit=True)
    async with database.transaction():
        async with database.transaction():
            user = await User.query.create(**ADA)
        assert (len(at_once), later) == (1, [])
    assert [call.instance for call in later] == [user]
    assert later[0].kwargs == at_once[0].kwargs


async def test_a_receiver_on_commit_is_called_at_once_outside_of_a_transaction(User):
    later = listen(User, "post_save", on_commit=True)
    await User.query.create(**ADA)
    assert len(later) == 1


async def test_a_receiver_on_commit_is_not_called_after_a_rollback(User):
    later = listen(User, "post_save", on_commit=True)
    await create_in_vain(User, **ADA)
    assert later == []


async def test_a_receiver_on_commit_is_not_called_for_what_a_savepoint_took_back(User, database):
    later = listen(User, "post_save", on_commit=True)
    async with database.transaction():
        await User.query.create(**ADA)
        await create_in_vain(User, **BOB)
    assert [call.instance.name for call in later] == ["Ada"]


async def test_receivers_on_commit_are_called_in_the_order_of_the_operations(User, database):
    later = listen(User, "post_save", "post_update", "post_delete", on_commit=True)
    async with database.transaction():
        user = await User.query.create(**ADA)
        await user.update(name="Eva")
        await User.query.delete()
    assert [call.signal for call in later] == ["post_save", "post_update", "post_delete"]


async def test_what_a_receiver_on_commit_raises_reaches_the_caller_and_the_row_stays(
    User, database
):
    @post_save(User, on_commit=True)
    async def broken(sender, instance, **kwargs):
        raise Veto

    with pytest.raises(Veto):
        async with database.transaction():
            await User.query.create(**ADA)
    assert await User.query.count() == 1


# Writers


class Elsewhere:
    """A writer whose signals are received elsewhere. It logs its calls."""

    def __init__(self, database, *signals):
        self.database = database
        self.signals = signals
        self.log = []

    def records(self, model, signal):
        return signal in self.signals

    async def write(self, write):
        async with self.database.transaction():
            changes = [change async for page in write.pages(self.database) for change in page]
        self.log.append(("write", write.signal, changes))
        return changes

    def announce(self, model, signal, instance, values, *, is_update=None):
        self.log.append(("announce", signal, values))

    async def send(self, model, signal, instance, kwargs):
        self.log.append(("send", signal, instance, dict(kwargs)))

    @property
    def steps(self):
        return [entry[:2] for entry in self.log]


def record(User, *signals):
    registry = User.meta.registry
    writer = registry.writer = Elsewhere(registry.database, *signals)
    return writer


async def test_a_post_receiver_of_a_recorded_signal_does_not_run_here_unless_it_is_local(User):
    record(User, "post_save")
    elsewhere, here = (
        listen(User, "post_save", "post_update"),
        listen(User, "post_save", local=True),
    )
    user = await User.query.create(**ADA)
    assert (elsewhere, len(here)) == ([], 1)
    await user.update(name="Eva")
    assert [call.signal for call in elsewhere] == ["post_update"], "which is not recorded"


async def test_a_receiver_on_commit_of_a_recorded_signal_runs_here_only_if_it_is_local(
    User, database
):
    record(User, "post_save")
    elsewhere = listen(User, "post_save", on_commit=True)
    here = listen(User, "post_save", on_commit=True, local=True)
    async with database.transaction():
        await User.query.create(**ADA)
        assert here == []
    assert (elsewhere, len(here)) == ([], 1)


async def test_pre_receivers_run_here_whatever_is_recorded(User):
    record(User, "pre_save", "post_save")
    calls = listen(User, "pre_save")
    await User.query.create(**ADA)
    assert len(calls) == 1


async def test_an_operation_is_announced_before_it_is_run(User):
    writer = record(User)
    user = await User.query.create(**ADA)
    await user.update(name="Eva")
    await User.query.update(age=17)
    await user.delete()
    expected = ["save", "update", "update", "delete"]
    assert writer.steps == [
        step
        for name in expected
        for step in (("announce", f"pre_{name}"), ("write", f"post_{name}"))
    ]
    assert [entry[2] for entry in writer.log if entry[0] == "announce"] == [
        SAVED | {"id": None},
        {"name": "Eva"},
        {"age": 17},
        {},
    ]


async def test_an_operation_that_a_pre_receiver_stops_is_not_announced(User):
    writer = record(User)

    @pre_save(User)
    async def veto(sender, instance, **kwargs):
        assert writer.log == []
        raise Veto

    with pytest.raises(Veto):
        await User.query.create(**ADA)
    assert writer.log == []


async def test_an_operation_that_is_not_valid_is_not_announced(User):
    writer = record(User)
    user = User(**ADA)
    user.email = "nobody"
    with pytest.raises(pydantic.ValidationError):
        await user.save()
    assert writer.log == []


async def test_a_write_tells_what_happened_to_every_row_without_its_secrets(User):
    writer = record(User)
    user = await User.query.create(**ADA, password="hush")
    await user.update(name="Eva", password="hush2")
    await User.query.update(age=17, password="hush3")
    await User.query.delete()
    changes = [change for entry in writer.log if entry[0] == "write" for change in entry[2]]
    assert [change.key for change in changes] == [1, 1, 1, 1]
    assert [changes_of(change, User.meta.public) for change in changes] == [
        None,
        {"name": {"old": "Ada", "new": "Eva"}},
        {"age": {"old": None, "new": 17}},
        None,
    ]
    row = {name: value for name, value in SAVED.items() if name != "password"}
    assert [User.meta.public_row(change.row) for change in changes] == [
        row,
        row | {"name": "Eva"},
        row | {"name": "Eva", "age": 17},
        row | {"name": "Eva", "age": 17},
    ]


async def test_values_of_several_rows_are_not_announced(User):
    writer = record(User)
    (user,) = await User.query.bulk_create([ADA])
    await User.query.bulk_update([user], ["name"])
    assert [entry for entry in writer.log if entry[0] == "announce"] == [
        ("announce", "pre_save", None),
        ("announce", "pre_update", None),
    ]


async def test_a_custom_signal_that_is_sent_reaches_the_writer_and_the_local_receivers(User):
    writer = record(User, "on_verify")
    User.meta.signals.on_verify = Signal()
    elsewhere, here = listen(User, "on_verify"), listen(User, "on_verify", local=True)
    user = await User.query.create(**ADA)
    writer.log.clear()
    await User.meta.signals.on_verify.send(sender=User, instance=user, reason="asked")
    assert writer.log == [("send", "on_verify", user, {"reason": "asked"})]
    assert elsewhere == []
    assert [(call.sender, call.instance, call.kwargs) for call in here] == [
        (User, user, {"reason": "asked", "model_instance": user, "event": None})
    ]


async def test_a_custom_signal_that_is_not_recorded_stays_here(User):
    writer = record(User, "post_save")
    User.meta.signals.on_verify = Signal()
    calls = listen(User, "on_verify")
    await User.meta.signals.on_verify.send(User)
    assert writer.log == []
    assert len(calls) == 1


async def test_a_built_in_signal_that_is_sent_by_hand_goes_the_same_way(User):
    writer = record(User, "post_save")
    elsewhere = listen(User, "post_save")
    await User.meta.signals.post_save.send(User, User(**ADA))
    assert writer.steps == [("send", "post_save")]
    assert elsewhere == []


def test_an_options_object_can_be_connected_by_hand():
    User = declare_user()

    async def receiver(sender, instance, **kwargs): ...

    User.meta.signals.post_save.connect(receiver, Options(local=True))
    assert User.meta.signals.post_save.find(receiver).options.local
