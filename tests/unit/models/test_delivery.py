"""Delivery in this process: rows of a set, and signals that the application sends."""

from contextlib import suppress

import pytest

import edgy_bus
from edgy_bus import models as edgy
from edgy_bus.errors import SignalError
from edgy_bus.signals import Options, Signal, pre_update
from edgy_bus.sources import PAGE
from tests.unit.models import ABSENT, declare_user, listen, tables

ROWS = [{"name": f"user {n}", "email": f"{n}@example.org"} for n in range(1, 4)]


class Veto(Exception):
    """A receiver refuses an operation."""


@pytest.fixture
async def User(sqlite_url):
    async with tables(sqlite_url, declare_user) as model:
        yield model


@pytest.fixture
def database(User):
    return User.meta.registry.database


class Recorder:
    """A writer of a bus whose signals go to a broker. It remembers how it wrote."""

    def __init__(self, database, *, recorded=True):
        self.database = database
        self.recorded = recorded
        self.pages = []
        self.sent = []

    def records(self, model, signal):
        return self.recorded

    async def write(self, write):
        if write.summary is not None:
            return await write.run(self.database)
        kept = []
        async with self.database.transaction():
            async for page in write.pages(self.database):
                self.pages.append(len(page))
                kept += write.kept(page)
        return kept

    def announce(self, model, signal, instance, values, *, is_update=None):
        """Announce nothing."""

    async def send(self, model, signal, instance, kwargs):
        self.sent.append((model.name, signal, instance, dict(kwargs)))


@pytest.fixture(params=["without a broker", "with a broker"])
def recorder(request, User, database):
    if request.param == "without a broker":
        return None
    User.meta.registry.writer = Recorder(database)
    return User.meta.registry.writer


# Rows of a set


def by_row(User, *signals, **options):
    return listen(User, *signals, rows=True, local=True, **options)


async def test_a_receiver_of_rows_is_called_for_each_row_that_is_created(User, recorder):
    calls = by_row(User, "post_save")
    await User.query.bulk_create(ROWS)
    assert [(call.instance.pk, call.instance.name) for call in calls] == [
        (1, "user 1"),
        (2, "user 2"),
        (3, "user 3"),
    ]
    row = calls[0].instance.field_values()
    assert calls[0].kwargs == ABSENT | {
        "model_instance": calls[0].instance,
        "values": row,
        "column_values": row,
        "is_update": False,
        "row_count": 1,
        "operation_skipped": False,
    }


@pytest.mark.parametrize("bulk", [False, True])
async def test_a_receiver_of_rows_is_called_for_each_row_that_is_updated(User, recorder, bulk):
    users = await User.query.bulk_create(ROWS)
    calls = by_row(User, "post_update")
    if bulk:
        for user in users:
            user.age = 17
        await User.query.bulk_update(users[1:], ["age"])
    else:
        await User.query.filter(pk__gt=1).update(age=17)
    assert [call.instance.pk for call in calls] == [2, 3]
    assert all(isinstance(call.instance, User) and call.instance.age == 17 for call in calls)
    values = {"age": 17}
    assert calls[0].kwargs == ABSENT | {
        "model_instance": calls[0].instance,
        "values": values,
        "column_values": values,
        "is_update": True,
        "changes": {"age": {"old": None, "new": 17}},
        "row_count": 1,
        "operation_skipped": False,
    }


async def test_a_receiver_of_rows_is_called_for_each_row_that_is_deleted(User, recorder):
    await User.query.bulk_create(ROWS)
    calls = by_row(User, "post_delete")
    await User.query.exclude(pk=2).delete()
    assert [call.instance.name for call in calls] == ["user 1", "user 3"]
    assert calls[0].kwargs == ABSENT | {
        "model_instance": calls[0].instance,
        "row_count": 1,
        "operation_skipped": False,
    }


async def test_other_receivers_are_called_once_with_the_set(User, recorder):
    await User.query.bulk_create(ROWS)
    rows, whole = by_row(User, "post_update"), listen(User, "post_update", local=True)
    query = User.query.filter(pk__lt=3)
    assert await query.update(age=17) == 2
    assert len(rows) == 2
    assert [(call.instance, call.kwargs["keys"]) for call in whole] == [(query, [1, 2])]


async def test_a_single_instance_needs_no_rows(User, recorder):
    calls = by_row(User, "post_save", "post_update", "post_delete")
    user = await User.query.create(**ROWS[0])
    await user.update(age=17)
    await user.delete()
    assert [call.instance for call in calls] == [user] * 3
    assert calls[1].kwargs["values"] == {"age": 17}


async def test_filters_look_at_each_row(User, recorder):
    users = await User.query.bulk_create(ROWS)
    await users[0].update(age=17)
    changed = by_row(User, "post_update", when_changed=["age"])
    second = by_row(User, "post_update", where=lambda user: user.pk == 2)
    await User.query.update(age=17)
    assert [call.instance.pk for call in changed] == [2, 3]
    assert [call.instance.pk for call in second] == [2]


async def test_a_set_with_a_single_event_has_no_rows_here_either(User, recorder):
    await User.query.bulk_create(ROWS)
    calls = by_row(User, "post_update", "post_delete")
    await User.query.update(age=17, expand=False)
    await User.query.delete(expand=False)
    assert [call.kwargs["model_instance"] for call in calls] == [None, None]
    assert [call.kwargs["row_count"] for call in calls] == [3, 3]


async def test_an_empty_set_and_a_skipped_set_have_no_rows(User, recorder):
    calls = by_row(User, "post_update")
    whole = listen(User, "post_update", local=True)
    await User.query.update(age=17)
    await User.query.bulk_create(ROWS)

    @pre_update(User)
    async def skip(sender, instance, **kwargs):
        raise edgy_bus.SkipOperation

    await User.query.update(age=18)
    assert calls == []
    assert [call.kwargs["operation_skipped"] for call in whole] == [False, True]


async def test_memory_holds_the_rows_of_a_page(User, recorder, database):
    """Each page's receivers are called before the next page is changed."""
    count = PAGE + 5
    await User.query.bulk_create(
        [{"name": "n", "email": f"{n}@example.org"} for n in range(1, count + 1)]
    )
    changed: list[int] = []

    async def receiver(sender, instance, **kwargs):
        if instance.pk in (1, PAGE, PAGE + 1):
            changed.append(await User.query.filter(age=17).count())

    User.meta.signals.post_update.connect(receiver, Options(rows=True, local=True))
    assert await User.query.update(age=17) == count
    assert changed == [PAGE, PAGE, count]


async def test_a_failing_receiver_of_rows_takes_the_whole_set_back(User, recorder):
    await User.query.bulk_create(ROWS)

    async def receiver(sender, instance, **kwargs):
        if instance.pk == 2:
            raise Veto

    User.meta.signals.post_update.connect(receiver, Options(rows=True, local=True))
    with pytest.raises(Veto):
        await User.query.update(age=17)
    assert await User.query.filter(age=17).count() == 0


async def test_rows_on_commit_wait_for_the_commit(User, recorder, database):
    await User.query.bulk_create(ROWS)
    calls = by_row(User, "post_update", on_commit=True)
    async with database.transaction():
        await User.query.update(age=17)
        assert calls == []
    assert [call.instance.pk for call in calls] == [1, 2, 3]
    with suppress(Veto):
        async with database.transaction():
            await User.query.update(age=18)
            raise Veto
    assert len(calls) == 3


async def test_a_muted_signal_has_no_rows(User, recorder):
    await User.query.bulk_create(ROWS)
    calls = by_row(User, "post_update")
    with User.meta.signals.post_update.muted():
        await User.query.update(age=17)
    assert calls == []


# Signals that the application sends


def declare_family(shop):
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=20)

        class Meta:
            registry = shop

    class Admin(User):
        class Meta:
            tablename = "admins"

    class Team(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = shop

    User.meta.signals.on_verify = Signal()
    return User, Admin, Team


@pytest.fixture(params=[False, True], ids=["here", "broker"])
async def family(request, sqlite_url):
    async with tables(sqlite_url, declare_family) as models:
        registry = models[0].meta.registry
        registry.writer = Recorder(registry.database, recorded=request.param)
        yield models


async def test_a_row_of_a_derived_model_is_announced_by_its_own_model(family):
    User, Admin, _ = family
    admin = await Admin.query.create(name="Ada")
    calls = listen(Admin, "on_verify", local=True)
    inherited = listen(User, "on_verify", local=True)
    for signal in (
        User.meta.signals.on_verify,
        Admin.meta.signals.on_verify,
        admin.signals.on_verify,
    ):
        await signal.send(sender=User, instance=admin, by="mail")
    given = {"model_instance": admin, "by": "mail", "event": None}
    for heard in (calls, inherited):
        assert [(call.sender, call.instance) for call in heard] == [(Admin, admin)] * 3
        assert heard[0].kwargs == given
    writer = User.meta.registry.writer
    expected = [("Admin", "on_verify", admin, {"by": "mail"})] * 3 if writer.recorded else []
    assert writer.sent == expected


async def test_a_sender_without_an_instance_is_announced_by_itself(family):
    User, Admin, _ = family
    calls = listen(User, "on_verify", local=True)
    await User.meta.signals.on_verify.send(User)
    await User.meta.signals.on_verify.send(Admin)
    assert [(call.sender, call.instance) for call in calls] == [(User, None), (Admin, None)]


@pytest.mark.parametrize("send", ["another model", "the parent's row", "not a class", "no model"])
async def test_senders_and_instances_that_do_not_belong_together_are_refused(family, send):
    User, Admin, Team = family
    user = await User.query.create(name="Ada")
    signal = User.meta.signals.on_verify
    wrong = {
        "another model": (signal, User, Team()),
        "the parent's row": (Admin.meta.signals.on_verify, Admin, user),
        "not a class": (signal, "User", None),
        "no model": (signal, object, user),
    }
    chosen, sender, instance = wrong[send]
    calls = listen(User, "on_verify", local=True)
    with pytest.raises(SignalError, match="on_verify"):
        await chosen.send(sender=sender, instance=instance)
    assert (calls, User.meta.registry.writer.sent) == ([], [])


async def test_a_signal_of_another_model_is_refused(family):
    User, _, Team = family
    with pytest.raises(
        SignalError, match=r"another model: declare and send Team\.meta\.signals\.on_verify"
    ):
        await User.meta.signals.on_verify.send(sender=Team, instance=Team())
    Team.meta.signals.on_verify = Signal()
    with pytest.raises(SignalError, match="another model"):
        await User.meta.signals.on_verify.send(sender=Team, instance=Team())
    await Team.meta.signals.on_verify.send(sender=Team, instance=Team())


async def test_an_instance_that_is_no_row_stays_here(family):
    User, _, _ = family
    calls = listen(User, "on_verify", local=True)
    if User.meta.registry.writer.recorded:
        with pytest.raises(SignalError, match="not with a dict: send other values as keywords"):
            await User.meta.signals.on_verify.send(User, {"id": 1})
        assert calls == []
    else:
        await User.meta.signals.on_verify.send(User, {"id": 1})
        assert [(call.instance, call.kwargs["model_instance"]) for call in calls] == [
            ({"id": 1}, None)
        ]
