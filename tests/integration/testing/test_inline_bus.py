"""Check the bus of a test: what it runs, what it tells, and that chaos finds what it should."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.errors import ConfigurationError, DatabaseError, DrainFailed
from edgy_bus.signals import post_delete, post_save, post_update, pre_save
from edgy_bus.testing import InlineBus, inline, make
from edgy_bus.testing.chaos import MODES


class App:
    """A service with users, and notes that receivers write."""

    def __init__(self, database: edgy.Database) -> None:
        self.database = database
        self.bus = edgy.Bus(
            "redis://localhost:1", service="shop", signing_keys={"a": "a secret of sixteen"}
        )
        self.registry = registry_of_app = edgy.Registry(database, bus=self.bus)

        class User(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: str = edgy.CharField(max_length=50)

            class Meta:
                registry = registry_of_app

        class Note(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            text: str = edgy.CharField(max_length=50)

            class Meta:
                registry = registry_of_app

        self.User, self.Note = User, Note

    def hear(self, signal: Any = post_save, **options: Any) -> Callable[..., Any]:
        return signal(self.User, **options)

    async def notes(self) -> list[str]:
        return sorted(note.text for note in await self.Note.query.all())


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    app = App(edgy.Database(database_url))
    yield app
    assert not app.database.is_connected
    assert isinstance(app.bus.broker, RedisBroker)
    async with app.database:
        # Nothing of the test was left, not even the tables.
        with pytest.raises(Exception, match=r"users|no such table"):
            await app.User.query.count()


async def test_receivers_handle_what_receivers_cause(app: App) -> None:
    @post_save(app.User)
    async def note(sender: Any, instance: Any, **kwargs: Any) -> None:
        assert type(instance) is app.User
        await app.Note.query.create(text=instance.name)

    heard: list[str] = []

    @post_save(app.Note)
    async def hear(sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
        heard.append(instance.text)

    async with inline(app.bus) as bus:
        ada = await app.User.query.create(name="Ada")
        await bus.drain()
        assert heard == ["Ada"]
        await ada.update(name="Lovelace")
        await ada.delete()
        await bus.drain()
        assert [event.type for event in bus.published()] == [
            *("shop.User.pre_save", "shop.User.post_save"),
            *("shop.Note.pre_save", "shop.Note.post_save"),
            *("shop.User.pre_update", "shop.User.pre_delete"),
            *("shop.User.post_update", "shop.User.post_delete"),
        ]
        assert len(bus.published(post_update, app.User)) == 1
        assert len(bus.published("post_save", "Note")) == len(bus.published(model="shop.Note")) - 1
        (event,) = bus.handled(hear)
        assert event.causation == bus.published(post_save, app.User)[0].id


async def test_an_error_of_a_receiver_is_the_cause_of_the_drains_error(app: App) -> None:
    @app.hear()
    async def fail(sender: Any, **kwargs: Any) -> None:
        raise LookupError("no such thing")

    async with inline(app.bus) as bus:
        await app.User.query.create(name="Ada")
        with pytest.raises(
            DrainFailed, match=r"(?s)fail: shop\.User\.post_save.*waits.*advance"
        ) as e:
            await bus.drain()
        assert isinstance(e.value.__cause__, LookupError)
        assert isinstance(e.value, AssertionError)


async def test_time_is_in_the_hands_of_the_test(app: App) -> None:
    asked: list[Any] = [edgy.snooze(60), edgy.retry(after=5), OSError("away"), None]

    @app.hear(retry=edgy.Retry(attempts=3, delay=10, factor=2, jitter=1))
    async def hear(sender: Any, instance: Any, **kwargs: Any) -> Any:
        answer = asked.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with inline(app.bus) as bus:
        await app.User.query.create(name="Ada")
        with pytest.raises(DrainFailed, match="waits for 60 s: snoozed"):
            await bus.drain()
        for seconds, waits, attempts in ((59, 1, 0), (1, 5, 1), (5, 20, 2), (19, 1, 2)):
            await bus.advance(seconds, check=False)
            (waiting,) = bus.waiting
            assert (waiting.seconds, waiting.attempts) == (waits, attempts)
        await bus.advance(1)
        assert not asked
        assert bus.waiting == []
        assert len(bus.handled(hear)) == 1
        assert len(bus.calls(hear)) == 4


async def test_retries_without_a_delay_are_made_at_once(app: App) -> None:
    failures = [OSError(), OSError()]

    @app.hear(retry=edgy.Retry(attempts=3, delay=0))
    async def hear(sender: Any, **kwargs: Any) -> None:
        if failures:
            raise failures.pop()

    async with inline(app.bus) as bus:
        await app.User.query.create(name="Ada")
        await bus.drain(check=False)
        assert len(bus.handled(hear)) == 1


async def test_advance_makes_every_call_that_is_due_on_the_way(app: App) -> None:
    @app.hear(retry=edgy.Retry(attempts=4, delay=10, factor=1))
    async def fail(sender: Any, **kwargs: Any) -> None:
        raise OSError("away")

    @app.hear(on_exhausted="hold", retry=edgy.Retry(attempts=2, delay=1))
    async def hold(sender: Any, **kwargs: Any) -> None:
        raise OSError("away")

    async with inline(app.bus) as bus:
        await app.User.query.create(name="Ada")
        await bus.drain(check=False)
        with pytest.raises(DrainFailed, match=r"fail: .*post_save .* given up after 4 calls"):
            await bus.advance(30)
        assert len(bus.calls(fail)) == 4
        assert [(each.receiver.split(".")[-1], each.held) for each in bus.dead] == [
            ("fail", False),
            ("hold", True),
        ]
        await bus.drain()  # tells of nothing twice


async def test_a_later_event_waits_behind_its_row(app: App) -> None:
    failures = [OSError("away")]

    @app.hear()
    @app.hear(post_update)
    async def hear(sender: Any, **kwargs: Any) -> None:
        if failures:
            raise failures.pop()

    async with inline(app.bus) as bus:
        ada = await app.User.query.create(name="Ada")
        await app.User.query.create(name="Bob")
        await ada.update(name="Lovelace")
        await bus.drain(check=False)
        assert [event.subject for event in bus.handled(hear)] == ["2"]
        await bus.advance(1)
        assert [(event.subject, event.signal) for event in bus.handled(hear)] == [
            ("2", "post_save"),
            ("1", "post_save"),
            ("1", "post_update"),
        ]


async def test_events_are_delivered_without_their_operation(app: App) -> None:
    seen: list[Any] = []

    @app.hear()
    async def hear(sender: Any, instance: Any, event: Any, **kwargs: Any) -> None:
        seen.append((sender, instance.name, instance.id, event.context))

    @app.bus.receiver("other.Order", "post_update")
    async def order(sender: Any, instance: Any, changes: Any, **kwargs: Any) -> None:
        seen.append((sender, instance.id, changes))

    @app.bus.receiver("other.Order", "pre_delete")
    async def before(sender: Any, instance: Any, **kwargs: Any) -> None:
        seen.append(sender)

    async with inline(app.bus) as bus:
        await bus.deliver(bus.event(post_save, app.User, {"name": "Ada"}, actor="bob"))
        await bus.deliver(bus.event(post_save, app.User(id=7, name="Grace")))
        await bus.deliver(
            bus.event("post_update", "other.Order", {"id": 3}, changes={"paid": (False, True)}),
            bus.event("pre_delete", "other.Order"),
        )
        assert seen == [
            (app.User, "Ada", 1, {"actor": "bob"}),
            (app.User, "Grace", 7, {}),
            ("other.Order", 3, {"paid": {"old": False, "new": True}}),
            "other.Order",
        ]
        # The outbox of the service goes on as if nothing had happened.
        await app.User.query.create(name="Ada")
        await bus.drain()
        assert len(bus.handled(hear)) == 3
        assert {event.incarnation for event in bus.published()} == {1}


async def test_mistakes_are_told_with_their_remedy(app: App) -> None:
    @app.hear()
    async def hear(sender: Any, **kwargs: Any) -> None: ...

    @pre_save(app.User)
    async def before(sender: Any, **kwargs: Any) -> None: ...

    async def nobody(sender: Any, **kwargs: Any) -> None: ...

    async with inline(app.bus) as bus:
        with pytest.raises(ConfigurationError, match=r"no receiver of this bus; .*hear.*imported"):
            bus.handled(nobody)
        with pytest.raises(ConfigurationError, match="in the process of the operation"):
            bus.handled(before)
        with pytest.raises(ConfigurationError, match=r"no model 'shop.Usr': did you mean"):
            bus.published(post_save, "shop.Usr")
        with pytest.raises(ConfigurationError, match=r"no signal 'post_sav': did you mean"):
            bus.published("post_sav", app.User)
        with pytest.raises(ConfigurationError, match=r"listens to shop.User.post_delete; .*hear"):
            await bus.deliver(bus.event(post_delete, app.User))
        with pytest.raises(ConfigurationError, match=r'write "service.User"'):
            bus.event(post_save, "User")
        with pytest.raises(ConfigurationError, match="the bus runs already"):
            async with inline(app.bus):
                pass
        async with app.database.transaction():
            await app.User.query.create(name="Ada")
            with pytest.raises(DatabaseError, match="inside of a transaction of the test"):
                await bus.drain()
        with pytest.raises(ConfigurationError, match=r"still in the outbox: await bus.drain"):
            bus.published()
        await bus.relay()
        assert len(bus.published(post_save)) == 1
        assert bus.handled(hear) == []
    with pytest.raises(ConfigurationError, match=r"no mode 'crsh': did you mean 'crash'"):
        async with inline(app.bus, mode="crsh"):
            pass
    with pytest.raises(ConfigurationError, match="local mode"):
        async with inline(edgy.Bus()):
            pass


async def test_a_receiver_that_never_ends_is_named(app: App) -> None:
    @app.hear()
    async def hang(sender: Any, **kwargs: Any) -> None:
        await asyncio.Event().wait()

    async with inline(app.bus) as bus:
        await app.User.query.create(name="Ada")
        with pytest.raises(DrainFailed, match=r"after 0.3 s, these receivers still run: .*hang"):
            await bus.drain(patience=0.3)


async def test_a_receiver_that_feeds_itself_is_named(app: App) -> None:
    @app.hear()
    async def again(sender: Any, **kwargs: Any) -> None:
        await app.User.query.create(name="Ada")

    async with inline(app.bus) as bus:
        await app.User.query.create(name="Ada")
        with pytest.raises(DrainFailed, match=r"no end after 0.5 s|still run"):
            await bus.drain(patience=0.5)


def test_each_event_loop_has_a_test_of_its_own(tmp_path: Any) -> None:
    app = App(edgy.Database(f"sqlite:///{tmp_path / 'app.sqlite'}"))

    @app.hear(inbox=app.database)
    async def note(sender: Any, instance: Any, **kwargs: Any) -> None:
        await app.Note.query.create(text=instance.name)

    async def main() -> None:
        async with inline(app.bus) as bus:
            await app.User.query.create(name="Ada")
            await bus.drain()
            assert await app.notes() == ["Ada"]

    for _ in range(3):
        asyncio.run(main())


# Chaos


async def played(app: App, mode: str) -> InlineBus:
    """Create two users, in two drains."""
    async with inline(app.bus, mode=mode) as bus:
        for name in ("Ada", "Bob"):
            await app.User.query.create(name=name)
            await bus.drain()
        app.found = await app.notes()  # type: ignore[attr-defined]
        return bus


@pytest.mark.parametrize("mode", MODES)
async def test_a_receiver_that_is_idempotent_bears_everything(app: App, mode: str) -> None:
    @app.hear(inbox=app.database)
    async def note(sender: Any, instance: Any, **kwargs: Any) -> None:
        await app.Note.query.create(text=f"{instance.name} 1")
        await app.Note.query.create(text=f"{instance.name} 2")

    @app.hear(inbox=app.database, batch=edgy.Batch(size=10))
    async def together(sender: Any, instances: Any, **kwargs: Any) -> None:
        await app.Note.query.bulk_create([{"text": f"{each.name} b"} for each in instances])

    bus = await played(app, mode)
    names = [f"{name} {part}" for name in ("Ada", "Bob") for part in ("1", "2", "b")]
    assert app.found == names  # type: ignore[attr-defined]
    assert len(bus.handled(note)) == 2


@pytest.mark.parametrize(
    ("mode", "counts"),
    [
        ("calm", {"Ada": 1, "Bob": 1}),
        ("twice", {"Ada": 2, "Bob": 2}),
        # At the second drain, the events of the first come again.
        ("late", {"Ada": 3, "Bob": 2}),
        ("batches", {"Ada": 2, "Bob": 2}),
    ],
)
async def test_events_come_as_often_as_the_mode_says(
    app: App, mode: str, counts: dict[str, int]
) -> None:
    @app.hear()
    async def note(sender: Any, instance: Any, **kwargs: Any) -> None:
        await app.Note.query.create(text=instance.name)

    await played(app, mode)
    assert Counter(app.found) == counts  # type: ignore[attr-defined]


async def test_a_crash_comes_at_every_wait_of_a_call(app: App) -> None:
    ended: list[int] = []

    @app.hear()
    async def work(sender: Any, instance: Any, **kwargs: Any) -> None:
        steps = 0
        try:
            for _ in range(4):
                await asyncio.sleep(0)
                steps += 1
            await asyncio.sleep(0.001)
            steps += 1
        finally:
            ended.append(steps)

    async with inline(app.bus, mode="crash") as bus:
        await app.User.query.create(name="Ada")
        await bus.drain()
        # Cut at five waits, then not at all as no call has six, then handled for good.
        assert ended == [0, 1, 2, 3, 4, 5, 5]
        assert len(bus.handled(work)) == 1
        assert bus.waiting == bus.dead == []


async def test_a_crash_between_two_effects_is_found(app: App) -> None:
    @app.hear()
    async def note_once(sender: Any, instance: Any, **kwargs: Any) -> None:
        # Looks idempotent, and is not: the worker may die between the two.
        if not await app.Note.query.filter(text=f"done {instance.name}").exists():
            await app.Note.query.create(text=instance.name)
            await app.Note.query.create(text=f"done {instance.name}")

    await played(app, "twice")
    assert app.found == ["Ada", "Bob", "done Ada", "done Bob"]  # type: ignore[attr-defined]
    await played(app, "crash")
    assert Counter(app.found)["Ada"] > 1  # type: ignore[attr-defined]


async def test_batches_are_cut_elsewhere(app: App) -> None:
    sizes: list[int] = []

    @app.hear(batch=edgy.Batch(size=10, wait=60))
    async def together(sender: Any, instances: Any, **kwargs: Any) -> None:
        sizes.append(len(instances))

    async with inline(app.bus, mode="batches") as bus:
        await app.User.query.bulk_create([{"name": name} for name in ("Ada", "Bob", "Cem")])
        await bus.drain()
        assert sizes == [1, 1, 1, 3]
        assert len(bus.handled(together)) == 3


async def test_chaos_counts_no_attempts(app: App) -> None:
    @app.hear(retry=edgy.Retry(attempts=2, delay=5))
    async def fail(sender: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        raise OSError("away")

    for mode in MODES:
        async with inline(app.bus, mode=mode) as bus:
            await app.User.query.create(name="Ada")
            await bus.drain(check=False)
            assert [each.attempts for each in bus.waiting] == [1]
            await bus.advance(5, check=False)
            assert [each.attempts for each in bus.dead] == [2]


def test_defaults_fit_their_fields() -> None:
    import datetime as dt
    import decimal
    import enum
    import uuid

    class Kind(enum.Enum):
        SMALL = "small"
        LARGE = "large"

    registry_of_all = edgy.Registry(edgy.Database("sqlite://"))

    class Everything(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        key: uuid.UUID = edgy.UUIDField()
        text: str = edgy.TextField()
        email: str = edgy.EmailField()
        kind: Kind = edgy.ChoiceField(Kind)
        flag: bool = edgy.BooleanField()
        price: decimal.Decimal = edgy.DecimalField(max_digits=9, decimal_places=2)
        day: dt.date = edgy.DateField()
        at: dt.datetime = edgy.DateTimeField()
        time: dt.time = edgy.TimeField()
        lasts: dt.timedelta = edgy.DurationField()
        share: float = edgy.FloatField()
        raw: bytes = edgy.BinaryField()
        data: dict[str, int] = edgy.JSONField()
        note: str | None = edgy.CharField(max_length=3, null=True)
        code: str = edgy.CharField(max_length=3, default="abc")

        class Meta:
            registry = registry_of_all

    first, second = make(Everything), make(Everything, text="mine")
    assert first.id is None
    assert first.email != second.email
    assert (first.note, first.code, second.text) == (None, "abc", "mine")

    class Narrow(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        code: str = edgy.CharField(max_length=3)

        class Meta:
            registry = registry_of_all

    with pytest.raises(ConfigurationError, match=r"no value for code.*make\(Narrow, code=…\)"):
        make(Narrow)
    with pytest.raises(ValueError, match="code"):
        make(Narrow, code="too long")


async def test_an_application_may_start_and_stop_its_bus(app: App) -> None:
    @app.hear()
    async def hear(sender: Any, **kwargs: Any) -> None: ...

    async with inline(app.bus) as bus:
        async with app.bus:
            await app.User.query.create(name="Ada")
        await bus.drain()
        assert len(bus.handled(hear)) == 1
        tasks = [task.get_name() for task in asyncio.all_tasks()]
        assert "Announcer" not in tasks
