"""Check the reference page of signals sentence by sentence.

The tests run without and with a broker, on SQLite and on PostgreSQL. The models and receivers are
copies from the page; only the imports differ.
"""

from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.core.signals import (
    post_delete,
    post_save,
    post_update,
    pre_delete,
    pre_save,
    pre_update,
)
from tests.integration.service import QUICK, handling
from tests.support import eventually

ADA = {"name": "Ada", "email": "ada@example.org"}


class Place:
    """The page's models on one of two databases, in one of two modes."""

    def __init__(self, url: str, broker: str | None) -> None:
        self.bus = edgy.Bus(
            broker,
            service="app",
            **QUICK,
        )
        database = edgy.Database(url)
        registry = self.registry = edgy.Registry(database=database, bus=self.bus)
        shared = registry

        class User(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=255)
            email: str = edgy.CharField(max_length=255)
            is_verified: bool = edgy.BooleanField(default=False)

            class Meta:
                registry = shared

        class Profile(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            profile_type: str = edgy.CharField(max_length=255)

            class Meta:
                registry = shared

        self.User, self.Profile = User, Profile
        self.mails: list[str] = []

    def running(self) -> AbstractAsyncContextManager[None]:
        return handling(self.bus, self.registry)

    async def sent(self, *mails: str) -> None:
        """Wait until these mails, and no others, have been sent."""
        await eventually(lambda: len(self.mails) >= len(mails), f"{len(mails)} mails")
        assert sorted(self.mails) == sorted(mails)

    async def rest(self) -> None:
        """Let everything that was announced so far be heard: a mark of our own comes after it."""
        user = await self.User.query.create(name="mark", email="mark")
        await eventually(lambda: "mark" in self.mails)
        self.mails.remove("mark")
        del user

    def send_mail(self, email: str) -> None:
        self.mails.append(email)


@pytest.fixture(params=[None, "memory://"], ids=["local", "broker"])
def place(request: pytest.FixtureRequest, database_url: str) -> Place:
    return Place(database_url, request.param)


# "triggered on Model.save() and Model.query.create", and so on


def watch(place: Place, calls: list[tuple[str, bool]]) -> None:
    """Note every built-in signal here, and whether the row was there at the time."""

    def one(signal: Any, name: str) -> None:
        async def receiver(sender: Any, instance: Any, **kwargs: Any) -> None:
            calls.append((name, await place.User.query.exists(name="Ada")))

        signal(place.User, local=True)(receiver)

    for signal in (pre_save, post_save, pre_update, post_update, pre_delete, post_delete):
        one(signal, signal.name)


async def test_save_signals_are_sent_by_save_and_by_create_before_and_after_the_row_is_stored(
    place: Place,
) -> None:
    calls: list[tuple[str, bool]] = []
    watch(place, calls)
    async with place.running():
        await place.User.query.create(**ADA)
        assert calls == [("pre_save", False), ("post_save", True)]
        calls.clear()
        await place.User(name="Bob", email="b").save()
        assert [name for name, _ in calls] == ["pre_save", "post_save"]


async def test_update_signals_are_sent_by_update_and_by_query_update(place: Place) -> None:
    calls: list[tuple[str, bool]] = []
    async with place.running():
        user = await place.User.query.create(name="Eve", email="e")
        watch(place, calls)
        await user.update(name="Ada")
        assert calls == [("pre_update", False), ("post_update", True)]
        calls.clear()
        await place.User.query.filter(name="Ada").update(email="other")
        assert [name for name, _ in calls] == ["pre_update", "post_update"]


async def test_delete_signals_are_sent_by_delete_and_by_query_delete(place: Place) -> None:
    calls: list[tuple[str, bool]] = []
    async with place.running():
        user = await place.User.query.create(**ADA)
        await place.User.query.create(**ADA)
        watch(place, calls)
        await user.delete()
        assert calls == [("pre_delete", True), ("post_delete", True)]
        calls.clear()
        await place.User.query.filter(name="Ada").delete()
        assert calls == [("pre_delete", True), ("post_delete", False)]


# "Receiver"


async def test_a_receiver_is_called_when_a_record_is_created(place: Place) -> None:
    @post_save(place.User)
    async def after_creation(sender, instance, **kwargs):
        """
        Sends a notification to the user
        """
        assert sender is place.User
        place.send_mail(instance.email)

    async with place.running():
        await place.User.query.create(**ADA)
        await place.sent("ada@example.org")


# "Requirements": a callable; `sender` first; `**kwargs`; async


@pytest.mark.parametrize(
    ("receiver", "rule"),
    [
        ("not callable", "must be callable"),
        (lambda instance, **kwargs: None, "must take `sender` as its first parameter"),
        (lambda sender, instance: None, r"must take \*\*kwargs"),
        (lambda sender, **kwargs: None, "must be async"),
    ],
)
def test_a_receiver_that_breaks_a_requirement_is_refused_with_it(
    place: Place, receiver: Any, rule: str
) -> None:
    with pytest.raises(edgy.SignalError, match=rule):
        post_save(place.User)(receiver)


# "Multiple receivers"


async def test_one_receiver_for_several_models(place: Place) -> None:
    @post_save([place.User, place.Profile])
    async def after_creation(sender, instance, **kwargs):
        if isinstance(instance, place.User):
            place.send_mail(instance.email)
        else:
            place.send_mail(instance.profile_type)

    async with place.running():
        await place.User.query.create(**ADA)
        await place.Profile.query.create(profile_type="admin")
        await place.sent("ada@example.org", "admin")


async def test_several_receivers_for_one_model_are_all_executed(place: Place) -> None:
    @post_save(place.User)
    async def after_creation(sender, instance, **kwargs):
        place.send_mail(f"mail {instance.email}")

    @post_save(place.User)
    async def do_something_else(sender, instance, **kwargs):
        place.send_mail(f"push {instance.email}")

    async with place.running():
        await place.User.query.create(**ADA)
        await place.sent("mail ada@example.org", "push ada@example.org")


# "Disconnecting receivers"


@pytest.mark.parametrize("through", ["class", "instance"])
async def test_a_disconnected_receiver_does_not_run_for_that_model(
    place: Place, through: str
) -> None:
    @post_save([place.User, place.Profile])
    async def after_creation(sender, instance, **kwargs):
        place.send_mail(getattr(instance, "email", "profile"))

    @post_save(place.User)
    async def stays(sender, instance, **kwargs):
        if instance.name == "mark":
            place.send_mail("mark")

    user = place.User(**ADA)
    signals = place.User.meta.signals if through == "class" else user.signals
    signals.post_save.disconnect(after_creation)
    async with place.running():
        await user.save()
        await place.rest()
        assert place.mails == []
        await place.Profile.query.create(profile_type="admin")
        await place.sent("profile")


# "Custom Signals"


async def test_a_custom_signal_is_there_for_the_model_from_now_on(place: Place) -> None:
    place.User.meta.signals.on_verify = edgy.Signal()

    async def trigger_notifications(sender, instance, **kwargs):
        place.send_mail(instance.email)

    place.User.meta.signals.on_verify.connect(trigger_notifications)

    async def is_verified_user(id: int) -> None:
        user = await place.User.query.get(pk=id)

        if user.is_verified:
            # triggers the custom signal
            await place.User.meta.signals.on_verify.send(sender=place.User, instance=user)

    async with place.running():
        await place.User.query.create(name="Bob", email="bob")
        ada = await place.User.query.create(**ADA, is_verified=True)
        for user in await place.User.query:
            await is_verified_user(user.id)
        await place.sent(ada.email)


async def test_a_custom_signal_belongs_to_the_class_and_to_all_its_instances(place: Place) -> None:
    place.User.meta.signals.on_verify = edgy.Signal()
    one, other = place.User(**ADA), place.User(**ADA)
    assert one.signals.on_verify is other.signals.on_verify is place.User.meta.signals.on_verify
    assert "on_verify" not in place.Profile.meta.signals


async def test_a_custom_signal_is_disconnected_like_the_others(place: Place) -> None:
    place.User.meta.signals.on_verify = edgy.Signal()

    async def trigger_notifications(sender, instance, **kwargs):
        place.send_mail(instance.email)

    @post_save(place.User)
    async def mark(sender, instance, **kwargs):
        if instance.name == "mark":
            place.send_mail("mark")

    place.User.meta.signals.on_verify.connect(trigger_notifications)
    place.User.meta.signals.on_verify.disconnect(trigger_notifications)
    async with place.running():
        user = await place.User.query.create(**ADA)
        await place.User.meta.signals.on_verify.send(sender=place.User, instance=user)
        await place.rest()
        assert place.mails == []
