"""Check operations without signals (`signal.muted()`) and skipped operations (`SkipOperation`)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import edgy_bus as edgy
from tests.unit.models import declare_user, listen, tables

ADA = {"name": "Ada", "email": "ada@example.org"}


@pytest.fixture
async def User(sqlite_url: str) -> AsyncIterator[Any]:
    async with tables(sqlite_url, declare_user) as user:
        yield user


async def test_what_is_muted_is_not_heard_and_is_heard_again_afterwards(User: Any) -> None:
    calls = listen(User, "pre_save", "post_save", "post_delete")
    with User.meta.signals.post_save.muted():
        user = await User.query.create(**ADA)
        await user.delete()
    assert [call.signal for call in calls] == ["pre_save", "post_delete"]
    calls.clear()
    await User.query.create(**ADA)
    assert [call.signal for call in calls] == ["pre_save", "post_save"]


async def test_an_error_inside_ends_the_muting_too(User: Any) -> None:
    calls = listen(User, "post_save")
    with pytest.raises(RuntimeError), User.meta.signals.post_save.muted():
        raise RuntimeError
    await User.query.create(**ADA)
    assert len(calls) == 1


async def test_muting_in_one_task_mutes_no_other(User: Any) -> None:
    calls = listen(User, "post_save")
    muted, go = asyncio.Event(), asyncio.Event()

    async def quiet() -> None:
        with User.meta.signals.post_save.muted():
            muted.set()
            await go.wait()

    task = asyncio.create_task(quiet())
    await muted.wait()
    await User.query.create(**ADA)
    go.set()
    await task
    assert len(calls) == 1


async def test_custom_signals_can_be_muted(User: Any) -> None:
    User.meta.signals.on_verify = edgy.Signal()
    calls = listen(User, "on_verify")
    with User.meta.signals.on_verify.muted():
        await User.meta.signals.on_verify.send(sender=User)
    assert calls == []


async def test_a_muted_parent_mutes_the_derived_models(sqlite_url: str) -> None:
    registry = edgy.Registry(sqlite_url)
    shop = registry

    class Base(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = shop
            abstract = True

    class Dog(Base):
        pass

    class Cat(Base):
        pass

    async with registry:
        await registry.create_all()
        calls = listen(Base, "post_save")
        with Base.meta.signals.post_save.muted():
            await Dog.query.create()
        with Dog.meta.signals.post_save.muted():
            await Dog.query.create()
            cat = await Cat.query.create()
    assert [call.instance for call in calls] == [cat]


async def test_a_pre_receiver_can_skip_the_operation(User: Any) -> None:
    async def skip(sender: Any, **kwargs: Any) -> None:
        raise edgy.SkipOperation

    user = await User.query.create(**ADA)
    after = listen(User, "post_save", "post_update", "post_delete")
    for name in ("pre_save", "pre_update", "pre_delete"):
        User.meta.signals[name].connect(skip)
    unsaved = await User.query.create(name="Bob", email="bob@example.org")
    assert unsaved.pk is None
    await user.update(name="Eve")
    assert await user.delete() == 0
    assert await User.query.filter(name="Ada").update(name="Eve") == 0
    assert await User.query.delete() == 0
    assert [
        (call.signal, call.kwargs["operation_skipped"], call.kwargs["row_count"]) for call in after
    ] == [
        ("post_save", True, 0),
        ("post_update", True, 0),
        ("post_delete", True, 0),
        ("post_update", True, 0),
        ("post_delete", True, 0),
    ]
    assert [one.name for one in await User.query] == ["Ada"]


async def test_later_pre_receivers_of_a_skipped_operation_are_not_called(User: Any) -> None:
    async def skip(sender: Any, **kwargs: Any) -> None:
        raise edgy.SkipOperation

    User.meta.signals.pre_save.connect(skip)
    calls = listen(User, "pre_save")
    await User.query.create(**ADA)
    assert calls == []


async def test_what_did_happen_says_that_it_was_not_skipped(User: Any) -> None:
    calls = listen(User, "post_save")
    await User.query.create(**ADA)
    assert calls[0].kwargs["operation_skipped"] is False
