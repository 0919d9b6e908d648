"""Mistakes of a first hour with Edgy's models, each with the message that its author must get."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import edgy_bus
from edgy_bus.errors import ConfigurationError, ModelError, OperationError, SignalError
from edgy_bus.integrations.edgy import checking, publish
from edgy_bus.signals import post_save, post_update
from tests.edgy.shop import Models, edgy


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(f"sqlite:///{tmp_path / 'shop.sqlite'}")


@pytest.fixture
def bus() -> edgy_bus.Bus:
    return edgy_bus.Bus("memory://", relay=False)


def test_publishing_twice(models: Models, bus: edgy_bus.Bus) -> None:
    source = publish(models.registry, bus)
    with pytest.raises(ConfigurationError, match="published already"):
        publish(models.registry, bus)
    with pytest.raises(ConfigurationError, match=r"source\.close"):
        publish(models.registry, edgy_bus.Bus("memory://"))
    source.close()
    publish(models.registry, edgy_bus.Bus("memory://"))


async def test_a_closed_source_publishes_nothing(models: Models, bus: edgy_bus.Bus) -> None:
    source = publish(models.registry, bus)
    async with models.registry, bus:
        await models.registry.create_all()
        source.close()
        await models.database.execute("DELETE FROM authors")
    heard = []

    @post_save(models.Author)
    async def hear(sender: Any, instance: Any, **kwargs: Any) -> None:
        heard.append(instance.name)

    publish(models.registry, edgy_bus.Bus())
    async with models.registry:
        await models.Author.query.create(name="Ann")
    assert heard == ["Ann"], "receivers stay where the registry is published again"


def test_wrong_arguments(models: Models, bus: edgy_bus.Bus) -> None:
    mistaken: Any = publish
    for registry in (bus, models.database, "registry", models.Author):
        with pytest.raises(ConfigurationError, match="takes a registry of Edgy"):
            mistaken(registry, bus)
    with pytest.raises(ConfigurationError, match="takes a bus"):
        mistaken(models.registry, models.registry)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("mysql+asyncmy://localhost/shop", "registries on mysql cannot publish"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql+asyncpg://localhost/shop?prepared_statement_cache_size=0", "database=…"),
    ],
)
def test_databases_without_an_outbox(bus: edgy_bus.Bus, url: str, text: str) -> None:
    registry = edgy.Registry(database=edgy.Database("sqlite:///shop.sqlite"))
    registry.database.url = edgy.Database("sqlite:///x").url.__class__(url)
    with pytest.raises(ConfigurationError, match=text):
        publish(registry, bus)


def test_an_older_edgy(models: Models, bus: edgy_bus.Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "version", lambda _: "0.36.2")
    with pytest.raises(ConfigurationError, match=r"Edgy 0\.36\.2 is too old"):
        publish(models.registry, bus)
    monkeypatch.setattr(checking, "version", lambda _: "1.0.0rc1")
    publish(models.registry, bus)


def test_a_level_for_all_statements(tmp_path: Path, bus: edgy_bus.Bus) -> None:
    database = edgy.Database(f"sqlite:///{tmp_path / 'x.sqlite'}", isolation_level="SERIALIZABLE")
    with pytest.raises(ConfigurationError, match="isolation_level"):
        publish(edgy.Registry(database=database), bus)


async def test_a_test_that_rolls_everything_back(tmp_path: Path, bus: edgy_bus.Bus) -> None:
    from sqlalchemy import func, select

    from edgy_bus.outbox.table import outbox

    models = Models(f"sqlite:///{tmp_path / 'shop.sqlite'}")
    publish(models.registry, bus)
    async with models.registry, bus:
        await models.registry.create_all()
        with models.database.force_rollback():
            async with models.database as database, database.connection():
                await models.Author.query.create(name="Ann")
                async with database.transaction():
                    await models.Author.query.bulk_create([{"name": "Bea"}])
                assert await database.fetch_val(select(func.count()).select_from(outbox)) == 2
        assert await models.Author.query.count() == 0


async def test_publishing_too_late(models: Models, tmp_path: Path) -> None:
    bus = edgy_bus.Bus("memory://", relay=False)
    async with models.registry:
        with pytest.raises(ConfigurationError, match="connected already"):
            publish(models.registry, bus)
    other = Models(f"sqlite:///{tmp_path / 'other.sqlite'}")
    publish(models.registry, bus)
    async with bus:
        with pytest.raises(ConfigurationError, match="before the bus starts"):
            publish(other.registry, bus)


def test_receivers_of_models_that_are_not_published(models: Models, bus: edgy_bus.Bus) -> None:
    with pytest.raises(SignalError, match=r"integrations\.edgy\.publish\(registry, bus\)"):
        post_save(models.Author)
    source = publish(models.registry, bus, exclude=["Log"])
    with pytest.raises(SignalError, match="publish"):
        post_save(models.Log)
    with pytest.raises(ModelError, match="Log is not published"):
        source.model(models.Log)
    with pytest.raises(SignalError, match=r"no such field: did you mean 'name'\?"):
        post_update(models.Author, when_changed=("nmae",))


async def test_a_misspelt_exclusion(models: Models, bus: edgy_bus.Bus) -> None:
    publish(models.registry, bus, exclude=["Lgo"])
    with pytest.raises(ConfigurationError, match=r"'Lgo'.*did you mean 'Log'"):
        await bus.start()
    await bus.stop()


async def test_a_change_before_the_bus_has_started(models: Models, bus: edgy_bus.Bus) -> None:
    publish(models.registry, bus)
    async with models.registry:
        await models.registry.create_all()
        with pytest.raises(OperationError, match=r"edgy_bus_outbox.*start the bus"):
            await models.Author.query.create(name="Ann")
        assert await models.Author.query.count() == 0
        async with bus:
            await models.Author.query.create(name="Ann")


def test_the_database_of_the_registry_is_no_inbox(models: Models, bus: edgy_bus.Bus) -> None:
    publish(models.registry, bus)
    with pytest.raises(SignalError, match=r"inbox=source\.inbox"):
        post_save(models.Author, inbox=models.database)


async def test_an_exclusion_that_published_rows_follow(models: Models, bus: edgy_bus.Bus) -> None:
    publish(models.registry, bus, exclude=["Author"])
    with pytest.raises(ConfigurationError, match=r"rows of Book when rows of Author are deleted"):
        await bus.start()
    await bus.stop()


def test_models_that_cannot_be_published(models: Models, tmp_path: Path, bus: edgy_bus.Bus) -> None:
    other = edgy.Database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    own = edgy.Registry(database=models.database, extra={"other": other})

    class Far(edgy.StrictModel):
        database = other

        class Meta:
            registry = own

    with pytest.raises(ModelError, match=r"another database.*exclude=\['Far'\]"):
        publish(own, bus)
    publish(own, bus, exclude=[Far])

    with pytest.raises(ModelError, match="reflected"):

        class Old(edgy.ReflectModel):
            class Meta:
                registry = own


def test_fields_that_events_cannot_contain(models: Models, bus: edgy_bus.Bus) -> None:
    own = edgy.Registry(database=models.database)

    class Hidden(edgy.StrictModel):
        id: int = edgy.BigIntegerField(primary_key=True, autoincrement=True, secret=True)

        class Meta:
            registry = own

    with pytest.raises(ModelError, match="cannot be secret"):
        publish(own, bus)


async def test_a_model_that_is_declared_later(models: Models, tmp_path: Path) -> None:
    bus = edgy_bus.Bus()
    publish(models.registry, bus)

    class Review(edgy.StrictModel):
        book: Any = edgy.ForeignKey("Later", null=True)

        class Meta:
            registry = models.registry

    heard = []

    @post_update(Review, when_changed=("book",))
    async def hear(sender: Any, changes: Any, **kwargs: Any) -> None:
        heard.append(changes)

    class Later(edgy.StrictModel):
        class Meta:
            registry = models.registry

    async with bus:
        await models.registry.create_all()
        review = await Review.query.create()
        await review.update(book=await Later.query.create())
    assert heard == [{"book": {"old": None, "new": 1}}]


async def test_the_bus_connects_the_registry(models: Models, bus: edgy_bus.Bus) -> None:
    publish(models.registry, bus)
    async with bus:
        assert models.database.is_connected
        await models.registry.create_all()
        await models.Author.query.create(name="Ann")
    assert not models.database.is_connected
    async with models.registry:
        async with bus:
            pass
        assert models.database.is_connected, "the application has connected it, too"


async def test_the_copy_of_a_model_is_a_model_of_its_own(models: Models, tmp_path: Path) -> None:
    publish(models.registry, edgy_bus.Bus(), exclude=["Log"])
    other = edgy.Registry(database=edgy.Database(f"sqlite:///{tmp_path / 'other.sqlite'}"))
    copied = models.Place.copy_edgy_model(registry=other)
    with pytest.raises(SignalError):
        post_save(copied)
    publish(other, edgy_bus.Bus())
    heard = []

    @post_save(copied)
    async def hear(sender: Any, **kwargs: Any) -> None:
        heard.append(sender)

    async with other, models.registry:
        await asyncio.gather(other.create_all(), models.registry.create_all())
        for model in (copied, models.Place):
            await model.query.create(shelf="a", number=1, title="One")
    assert heard == [copied]
