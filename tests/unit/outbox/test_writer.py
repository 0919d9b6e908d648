"""The writer: an operation and its events, one for each row, are in one transaction."""

import enum
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

import edgy_bus as edgy
from edgy_bus.codec import loads
from edgy_bus.errors import EventError
from edgy_bus.events import partition_number
from edgy_bus.outbox.table import outbox
from edgy_bus.settings import EventSettings
from edgy_bus.sources import ChangeSet, RowChange
from tests.support import Told


class Colour(enum.Enum):
    RED = "red"


class Shop:
    """A service with a broker that nobody relays to: what is in its outbox stays there."""

    def __init__(self, url: str, **options: Any) -> None:
        self.database = edgy.Database(url)
        self.bus = edgy.Bus("memory://", service="accounts", relay=False, **options)
        self.registry = edgy.Registry(self.database, bus=self.bus)
        shop = self.registry

        class User(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=3_000)
            age: int = edgy.IntegerField(default=0)
            password: str = edgy.CharField(max_length=20, secret=True, default="")

            class Meta:
                registry = shop

        self.User = User

    async def events(self) -> list[dict[str, Any]]:
        rows = (await self.database.run(select(outbox).order_by(outbox.c.id))).rows
        return [{**row, "data": loads(row["data"])} for row in rows]

    async def told(self) -> list[tuple[str, str | None]]:
        return [(event["signal"], event["subject"]) for event in await self.events()]


@pytest.fixture
async def shop(sqlite_url: str) -> AsyncIterator[Shop]:
    one = Shop(sqlite_url)
    async with one.bus:
        await one.registry.create_all()
        yield one


async def test_every_operation_leaves_its_event(shop: Shop) -> None:
    user = await shop.User.query.create(name="Ada")
    await user.update(age=36)
    user.name = "Ada L"
    await user.save()
    await user.delete()
    assert await shop.told() == [
        ("post_save", "1"),
        ("post_update", "1"),
        ("post_save", "1"),
        ("post_delete", "1"),
    ]
    created, updated, saved, deleted = await shop.events()
    assert created["data"] == {"instance": {"id": 1, "name": "Ada", "age": 0}, "is_update": False}
    assert updated["data"]["changes"] == {"age": {"old": 0, "new": 36}}
    assert saved["data"]["is_update"] is True
    assert saved["data"]["changes"] == {"name": {"old": "Ada", "new": "Ada L"}}
    assert deleted["data"]["instance"]["name"] == "Ada L"


async def test_the_event_is_found_in_its_rows_partition(shop: Shop) -> None:
    await shop.User.query.create(name="Ada")
    (event,) = await shop.events()
    assert event["model"] == "accounts.User"
    assert event["label"] == str(partition_number("1", 8))


async def test_sets_and_bulks_leave_one_event_for_every_row(shop: Shop) -> None:
    for number in range(3):
        await shop.User.query.create(name=f"n{number}", age=number)
    await shop.User.query.filter(age__gte=1).update(name="x")
    await shop.User.query.delete()
    told = await shop.told()
    assert told[3:5] == [("post_update", "2"), ("post_update", "3")]
    assert sorted(told[5:]) == [("post_delete", "1"), ("post_delete", "2"), ("post_delete", "3")]


async def test_of_a_set_only_the_keys_stay_in_memory(shop: Shop) -> None:
    await shop.User.query.bulk_create([{"name": "Ada"}, {"name": "Bob"}])
    write = ChangeSet(shop.User.meta, "post_update", (), {"age": 3})
    assert await shop.registry.writer.write(write) == [RowChange(1, {}), RowChange(2, {})]
    assert [event["data"]["instance"]["age"] for event in await shop.events()] == [0, 0, 3, 3]


async def test_an_operation_that_affects_nothing_leaves_no_event(shop: Shop) -> None:
    await shop.User.query.filter(id=7).update(name="x")
    await shop.User.query.filter(id=7).delete()
    assert await shop.told() == []


async def test_a_rollback_takes_the_events_along(shop: Shop) -> None:
    with pytest.raises(RuntimeError):
        async with shop.database.transaction():
            await shop.User.query.create(name="Ada")
            raise RuntimeError
    assert await shop.told() == []
    assert await shop.User.query.count() == 0


async def test_a_savepoint_takes_its_own_events_along(shop: Shop) -> None:
    async with shop.database.transaction():
        await shop.User.query.create(id=1, name="stays")
        with pytest.raises(RuntimeError):
            async with shop.database.transaction():
                await shop.User.query.create(id=2, name="goes")
                raise RuntimeError
        await shop.User.query.create(id=3, name="stays")
    assert await shop.told() == [("post_save", "1"), ("post_save", "3")]


async def test_a_statement_that_fails_leaves_no_event(shop: Shop) -> None:
    await shop.User.query.create(id=1, name="Ada")
    with pytest.raises(Exception, match="UNIQUE"):
        await shop.User.query.create(id=1, name="Eve")
    assert len(await shop.told()) == 1


async def test_a_veto_leaves_no_event_and_announces_nothing(shop: Shop) -> None:
    async def veto(sender: Any, **kwargs: Any) -> None:
        raise PermissionError("no")

    shop.User.meta.signals.pre_save.connect(veto)
    with Told() as told, pytest.raises(PermissionError):
        await shop.User.query.create(name="Ada")
    assert await shop.told() == []
    assert told.names() == []


async def test_secret_fields_are_in_no_event(shop: Shop) -> None:
    user = await shop.User.query.create(name="Ada", password="s3cret")
    await user.update(password="s3cret2")
    await shop.User.query.filter(id=user.id).update(password="s3cret3")
    assert "s3cret" not in str(await shop.events())
    assert await shop.told() == [("post_save", "1"), ("post_update", "1"), ("post_update", "1")]


async def test_an_event_that_is_too_large_is_refused_before_the_commit(sqlite_url: str) -> None:
    shop = Shop(sqlite_url, events=EventSettings(max_bytes=1_000))
    async with shop.bus:
        await shop.registry.create_all()
        with pytest.raises(
            EventError, match=r"accounts.User.post_save of '1' has .* bytes, more than the 1,000"
        ):
            await shop.User.query.create(name="x" * 2_000)
        assert await shop.User.query.count() == 0
        assert await shop.told() == []


async def test_only_what_is_published_is_recorded(sqlite_url: str) -> None:
    shop = Shop(sqlite_url, publish=["post_delete", "User.post_update"])
    async with shop.bus:
        await shop.registry.create_all()
        user = await shop.User.query.create(name="Ada")
        await user.update(age=3)
        await user.delete()
        assert [signal for signal, _ in await shop.told()] == ["post_update", "post_delete"]


async def test_a_custom_signal_is_recorded_with_its_row_and_keywords(shop: Shop) -> None:
    shop.User.meta.signals.on_verify = edgy.Signal()
    user = await shop.User.query.create(name="Ada")
    await shop.User.meta.signals.on_verify.send(sender=shop.User, instance=user, by="mail")
    event = (await shop.events())[-1]
    assert (event["signal"], event["subject"]) == ("on_verify", "1")
    assert event["data"] == {
        "instance": {"id": 1, "name": "Ada", "age": 0},
        "kwargs": {"by": "mail"},
    }


async def test_a_custom_signal_of_a_row_that_is_gone_has_no_subject(shop: Shop) -> None:
    shop.User.meta.signals.on_verify = edgy.Signal()
    ghost = shop.User(id=77, name="nobody")
    await shop.User.meta.signals.on_verify.send(sender=shop.User, instance=ghost)
    assert await shop.told() == [("on_verify", None)]


async def test_keywords_that_cannot_travel_are_refused_with_their_name(shop: Shop) -> None:
    shop.User.meta.signals.on_verify = edgy.Signal()
    user = await shop.User.query.create(name="Ada")
    with pytest.raises(EventError, match="on_verify"):
        await shop.User.meta.signals.on_verify.send(
            sender=shop.User, instance=user, connection=object()
        )
    assert len(await shop.told()) == 1


async def test_numbers_rise_from_event_to_event_even_after_rows_were_pruned(shop: Shop) -> None:
    await shop.User.query.create(name="Ada")
    (first,) = await shop.events()
    await shop.database.run(outbox.delete())
    await shop.User.query.create(name="Eve")
    (second,) = await shop.events()
    assert second["id"] > first["id"]


async def test_what_is_muted_or_skipped_leaves_no_event(shop: Shop) -> None:
    with shop.User.meta.signals.post_save.muted():
        user = await shop.User.query.create(name="Ada")

    async def skip(sender: Any, **kwargs: Any) -> None:
        raise edgy.SkipOperation

    shop.User.meta.signals.pre_update.connect(skip)
    await user.update(name="Eve")
    assert await shop.told() == []
    await user.delete()
    assert await shop.told() == [("post_delete", "1")]


@pytest.mark.parametrize(
    ("publish", "told"),
    [
        (("post_delete",), ["post_delete"]),
        ("post_[su]*", ["post_save", "post_update"]),
        (False, []),
        (True, []),
    ],
)
async def test_a_model_says_itself_what_it_publishes(
    sqlite_url: str, publish: Any, told: list[str]
) -> None:
    shop, patterns = Shop(sqlite_url, publish="nothing"), publish
    own = shop.registry

    class Team(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=20)

        class Meta:
            registry = own
            publish = patterns

    async with shop.bus:
        await own.create_all()
        team = await Team.query.create(name="a")
        await team.update(name="b")
        await team.delete()
        assert [signal for signal, _ in await shop.told()] == told


def test_a_pattern_that_can_never_match_is_refused() -> None:
    with pytest.raises(
        edgy.ModelError, match=r"Meta.publish holds 'User.post_save': write names of signals"
    ):

        class Team(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)

            class Meta:
                publish = "User.post_save"


async def test_a_set_that_is_not_expanded_has_one_event_of_no_row(shop: Shop) -> None:
    for name in ("Ada", "Bob"):
        await shop.User.query.create(name=name)
    assert await shop.User.query.update(age=40, password="hidden", expand=False) == 2
    assert await shop.User.query.filter(name="nobody").update(age=41, expand=False) == 0
    assert await shop.User.query.delete(expand=False) == 2
    updated, deleted = (await shop.events())[2:]
    assert (updated["signal"], updated["subject"]) == ("post_update", None)
    assert updated["data"] == {"values": {"age": 40}, "row_count": 2, "is_update": True}
    assert (deleted["signal"], deleted["subject"]) == ("post_delete", None)
    assert deleted["data"] == {"values": {}, "row_count": 2, "is_update": False}


async def test_a_key_of_an_unusual_type_is_text_that_another_language_can_read(
    sqlite_url: str,
) -> None:
    shop = Shop(sqlite_url)
    own = shop.registry

    class Paint(edgy.Model):
        colour: Colour = edgy.ChoiceField(Colour, primary_key=True)

        class Meta:
            registry = own

    class Blob(edgy.Model):
        digest: bytes = edgy.BinaryField(primary_key=True)

        class Meta:
            registry = own

    async with shop.bus:
        await own.create_all()
        await (await Paint.query.create(colour=Colour.RED)).delete()
        await Blob.query.create(digest=b"\x00\xff")
        assert await shop.told() == [
            ("post_save", "red"),
            ("post_delete", "red"),
            ("post_save", "AP8="),
        ]
