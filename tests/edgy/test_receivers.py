"""Receivers of Edgy's models: before the SQL, here after it, and in workers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import edgy_bus
from edgy_bus.errors import OperationError, SignalError
from edgy_bus.signals import post_delete, post_save, post_update, pre_delete, pre_save, pre_update
from tests.edgy.shop import Color, Shop, open_shop
from tests.support import eventually


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(database_url, publish=["post_*"]) as opened:
        yield opened


# Before the SQL


async def test_a_receiver_refuses_a_new_row(shop: Shop) -> None:
    Author, seen = shop.models.Author, []

    @pre_save(Author)
    async def refuse(sender: Any, instance: Any, values: Any, **kwargs: Any) -> None:
        seen.append((instance.name, values["name"], kwargs["is_update"], instance.color))
        with pytest.raises(TypeError):
            values["name"] = "other"
        if instance.name == "Spam":
            raise PermissionError("no spam")

    for spam in (
        lambda: Author.query.create(name="Spam"),
        lambda: Author(name="Spam").save(),
        lambda: Author.query.bulk_create([{"name": "Ann"}, {"name": "Spam"}]),
        lambda: Author.query.get_or_create(name="Spam"),
    ):
        with pytest.raises(PermissionError):
            await spam()
    assert await Author.query.count() == 0
    assert await shop.kinds() == []
    await Author.query.create(name="Bea", color=Color.BLUE)
    assert seen[-1] == ("Bea", "Bea", False, Color.BLUE)
    assert len(await shop.events()) == 1


async def test_a_receiver_refuses_a_change_and_sees_the_row(shop: Shop) -> None:
    Author = shop.models.Author

    @pre_update(Author)
    async def refuse(sender: Any, instance: Any, values: Any, **kwargs: Any) -> None:
        if instance.name == "root":
            raise PermissionError(dict(values))

    root = await Author.query.create(name="root")
    await Author.query.create(name="Ann")
    root.name = "hacked"
    for change in (
        root.save,
        lambda: root.update(name="hacked"),
        lambda: Author.query.update(name="hacked"),
        lambda: Author.query.bulk_update([root], update_fields=["name"]),
    ):
        with pytest.raises(PermissionError, match="hacked"):
            await change()
    assert sorted(author.name for author in await Author.query.all()) == ["Ann", "root"]
    assert {kind[1] for kind in await shop.kinds()} == {"post_save"}


async def test_a_receiver_refuses_a_deletion(shop: Shop) -> None:
    models = shop.models

    @pre_delete(models.Author)
    async def refuse(sender: Any, instance: Any, **kwargs: Any) -> None:
        if await models.Book.query.filter(author=instance.id).exists():
            raise PermissionError(instance.name)

    author = await models.Author.query.create(name="Ann")
    await models.Author.query.create(name="Bea")
    await models.Book.query.create(title="One", author=author)
    for deletion in (author.delete, models.Author.query.delete):
        with pytest.raises(PermissionError, match="Ann"):
            await deletion()
    assert await models.Author.query.count() == 2
    await models.Author.query.filter(name="Bea").delete()
    assert await models.Author.query.count() == 1


async def test_a_receiver_uses_the_transaction_of_the_operation(shop: Shop) -> None:
    """Its queries see what the transaction has written, and its writes end with it."""
    models, seen = shop.models, []

    @pre_save(models.Book)
    async def note(sender: Any, instance: Any, **kwargs: Any) -> None:
        seen.append(await models.Author.query.count())
        await models.Log.query.create(text="asked")
        async with shop.database.transaction():
            await models.Tag.query.create(name="asked")

    with pytest.raises(ZeroDivisionError):
        async with shop.database.transaction():
            await models.Author.query.create(name="Ann")
            await models.Book.query.create(title="One")
            raise ZeroDivisionError
    assert seen == [1]
    assert await models.Log.query.count() == 0
    await models.Book.query.create(title="One")
    assert (await models.Log.query.count(), await models.Tag.query.count()) == (1, 1)
    assert [kind[0] for kind in await shop.kinds()] == ["Tag", "Book"]


async def test_a_receiver_cannot_skip_or_change_an_operation(shop: Shop) -> None:
    Author = shop.models.Author

    @pre_save(Author)
    async def change(sender: Any, instance: Any, **kwargs: Any) -> None:
        if instance.name == "skip":
            raise edgy_bus.SkipOperation
        instance.email = "changed"

    for name, text in (("skip", "skipped"), ("change", "changed")):
        with pytest.raises(OperationError, match=text):
            await Author.query.create(name=name)
    assert await Author.query.count() == 0


async def test_events_before_the_change_are_announced(database_url: str) -> None:
    async with open_shop(database_url, relay=True) as shop:
        heard: list[Any] = []

        for signal in ("pre_save", "pre_update", "pre_delete"):

            @shop.bus.receiver("shop.Author", signal, name=f"hear {signal}")
            async def hear(sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
                heard.append((event.signal, event.subject, kwargs["values"]))

        async with shop.bus.worker():
            author = await shop.models.Author.query.create(name="Ann")
            await author.update(name="Bea")
            await author.delete()
            await eventually(lambda: len(heard) == 3)
    by_signal = {signal: (subject, values) for signal, subject, values in heard}
    assert by_signal["pre_save"][1]["name"] == "Ann"
    assert "pin" not in by_signal["pre_save"][1], "secret"
    assert by_signal["pre_update"] == ("1", {"name": "Bea"})
    assert by_signal["pre_delete"][0] == "1"


# Here, after the SQL


async def test_a_receiver_of_this_process_is_called_in_the_transaction(shop: Shop) -> None:
    models, calls = shop.models, []

    @post_save(models.Author, local=True)
    async def now(sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
        calls.append((sender, instance.name, event))
        await models.Log.query.create(text=instance.name)
        if instance.name == "refused":
            raise ZeroDivisionError

    @post_save(models.Author, local=True, on_commit=True)
    async def later(sender: Any, instance: Any, **kwargs: Any) -> None:
        # What it reads is committed, and what it writes is a change of its own.
        calls.append(("later", await models.Author.query.count()))
        await models.Tag.query.create(name=instance.name)

    async with shop.database.transaction():
        await models.Author.query.create(name="Ann")
        assert calls == [(models.Author, "Ann", None)]
        with pytest.raises(ZeroDivisionError):
            await models.Author.query.create(name="refused")
    assert calls[2:] == [("later", 1)]
    assert [log.text for log in await models.Log.query.all()] == ["Ann"]
    assert await shop.kinds() == [("Author", "post_save", "1"), ("Tag", "post_save", "1")]
    with pytest.raises(ZeroDivisionError):
        await models.Author.query.create(name="refused")
    assert await models.Author.query.count() == 1


async def test_local_mode_needs_no_outbox(database_url: str) -> None:
    async with open_shop(database_url, broker=None) as shop:
        heard = []

        @post_update(shop.models.Author)
        async def here(sender: Any, instance: Any, changes: Any, **kwargs: Any) -> None:
            heard.append((instance.name, changes["name"]))

        @shop.bus.receiver("shop.Author", "post_delete")
        async def by_name(sender: Any, instance: Any, **kwargs: Any) -> None:
            heard.append((sender, instance.name))

        author = await shop.models.Author.query.create(name="Ann")
        await author.update(name="Bea")
        await author.delete()
    assert heard == [("Bea", {"old": "Ann", "new": "Bea"}), ("shop.Author", "Bea")]


# Workers


async def test_workers_get_detached_and_complete_instances(database_url: str) -> None:
    async with open_shop(database_url, relay=True) as shop:
        models, calls = shop.models, []

        @post_save([models.Author, models.Book, models.Place])
        async def saved(sender: Any, instance: Any, **kwargs: Any) -> None:
            calls.append((sender, instance, kwargs))

        @shop.bus.receiver("shop.Author", "post_save")
        async def by_name(sender: Any, instance: Any, **kwargs: Any) -> None:
            calls.append((sender, instance.name, instance.color))

        async with shop.bus.worker():
            author = await models.Author.query.create(name="Ann", color=Color.BLUE, notes=["a"])
            await models.Book.query.create(title="One", author=author)
            await models.Place.query.create(shelf="a", number=1, title="P")
            await eventually(lambda: len(calls) == 4)
    [[author, kwargs]] = [call[1:] for call in calls if call[0] is models.Author]
    assert isinstance(author, models.Author)
    assert (author.id, author.name, author.color, author.notes) == (1, "Ann", Color.BLUE, ["a"])
    assert author.email is None
    with pytest.raises(AttributeError):
        _ = author.pin
    assert kwargs["is_update"] is False
    assert kwargs["event"].subject == "1"
    assert ("shop.Author", "Ann", "BLUE") in calls
    [[book, _]] = [call[1:] for call in calls if call[0] is models.Book]
    assert (type(book), book.title, book.author.id) == (models.Book, "One", 1)
    [[place, _]] = [call[1:] for call in calls if call[0] is models.Place]
    assert (place.shelf, place.number, place.title) == ("a", 1, "P")


async def test_an_instance_of_a_worker_can_be_used(database_url: str) -> None:
    async with open_shop(database_url, relay=True) as shop:
        models = shop.models

        @post_save(models.Author)
        async def greet(sender: Any, instance: Any, **kwargs: Any) -> None:
            with pytest.raises(OperationError, match="secret"):
                await instance.save()
            await instance.update(email=f"{instance.name}@example.org")
            await models.Book.query.create(title="Welcome", author=instance)

        async with shop.bus.worker():
            await models.Author.query.create(name="Ann", pin="42")

            async def is_greeted() -> bool:
                return await models.Book.query.filter(author__name="Ann").exists()

            await eventually(is_greeted)
        author = await models.Author.query.get(name="Ann")
        assert (author.email, author.pin) == ("Ann@example.org", "42")


async def test_receivers_of_a_parent_class(database_url: str) -> None:
    import edgy

    from tests.edgy.shop import Models, address_of, publish

    models = Models(database_url)

    class Novel(models.Tag):
        pages: int = edgy.IntegerField(default=1)

        class Meta:
            registry = models.registry

    bus = edgy_bus.Bus("memory://", service="shop", relay=False, publish=[])
    publish(models.registry, bus, exclude=[models.Log], database=address_of(database_url))
    heard = []

    @post_save(models.Tag)
    async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
        heard.append((sender, instance.name))

    async with models.registry, bus:
        await models.registry.create_all()
        await Novel.query.create(name="n")
        await models.Tag.query.create(name="t")
    assert heard == [(Novel, "n"), (models.Tag, "t")]


async def test_signals_cannot_be_sent_by_the_application(shop: Shop) -> None:
    signals = shop.source.model(shop.models.Author).signals
    with pytest.raises(SignalError, match="cannot be sent"):
        await signals.post_save.send(shop.models.Author)


# Inbox


async def test_a_receiver_with_an_inbox_takes_effect_once(database_url: str) -> None:
    async with open_shop(database_url, relay=True) as shop:
        models, attempts = shop.models, []

        @post_save(models.Tag, inbox=shop.source.inbox, retry=edgy_bus.Retry(delay=0.01))
        async def copy(sender: Any, instance: Any, **kwargs: Any) -> None:
            attempts.append(instance.name)
            await models.Author.query.create(name=instance.name)
            await models.Log.query.create(text=instance.name)
            if len(attempts) == 1:
                raise RuntimeError("after the write")

        async with shop.bus.worker():
            await models.Tag.query.create(name="new")
            await eventually(lambda: models.Author.query.exists(name="new"))
        assert attempts == ["new", "new"]
        assert await models.Log.query.count() == 1
        assert [kind[:2] for kind in await shop.kinds()] == [
            ("Tag", "post_save"),
            ("Author", "post_save"),
        ]


async def test_a_change_beside_the_transaction_of_an_inbox_is_an_error(database_url: str) -> None:
    async with open_shop(database_url, relay=True) as shop:
        models, errors = shop.models, []

        @post_save(models.Tag, inbox=shop.source.inbox)
        async def copy(sender: Any, instance: Any, **kwargs: Any) -> None:
            try:
                await asyncio.create_task(models.Author.query.create(name=instance.name))
            except OperationError as error:
                errors.append(str(error))

        async with shop.bus.worker():
            await models.Tag.query.create(name="new")
            await eventually(lambda: bool(errors))
        assert "another task" in errors[0]
        assert await models.Author.query.count() == 0


async def test_deleted_rows_reach_workers(database_url: str) -> None:
    async with open_shop(database_url, relay=True) as shop:
        gone = []

        @post_delete(shop.models.Author)
        async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
            gone.append(instance.name)

        async with shop.bus.worker():
            await shop.models.Author.query.bulk_create([{"name": "Ann"}, {"name": "Bea"}])
            await shop.models.Author.query.delete()
            await eventually(lambda: sorted(gone) == ["Ann", "Bea"])


async def test_receivers_after_the_commit_need_no_further_connection(shop: Shop) -> None:
    """Each operation holds a connection, and the pool has fewer than twice as many."""
    models, heard = shop.models, []

    for signal in (post_save, post_update):

        @signal(models.Author, local=True, on_commit=True)
        async def later(sender: Any, instance: Any, **kwargs: Any) -> None:
            async with shop.database.transaction(isolation_level="SERIALIZABLE"):
                heard.append(await models.Author.query.filter(id=instance.id).exists())

    async def work(number: int) -> None:
        author = await models.Author.query.create(name=str(number))
        await models.Author.query.filter(id=author.id).update(name="x")

    count = 4 if shop.database.url.dialect == "sqlite" else 30
    async with asyncio.timeout(20):
        await asyncio.gather(*(work(number) for number in range(count)))
    assert heard == [True] * 2 * count
