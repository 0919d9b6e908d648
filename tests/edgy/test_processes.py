"""The programs of a service with Edgy: the service itself, a worker, and migrations."""

import asyncio
import re
import sys
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import edgy_bus
from tests.acceptance.programs import program
from tests.edgy.shop import Models, publish
from tests.support import eventually

APP = """
import edgy
import edgy_bus
from edgy_bus.integrations.edgy import publish
from edgy_bus.signals import post_save

models = edgy.Registry(database=edgy.Database("sqlite:///shop.sqlite"))


class User(edgy.Model):
    name: str = edgy.CharField(max_length=50)

    class Meta:
        registry = models


class Greeting(edgy.Model):
    user = edgy.ForeignKey(User)

    class Meta:
        registry = models


bus = edgy_bus.Bus("{redis}", service="shop", prefix="{prefix}")
source = publish(models, bus)


@post_save(User, inbox=source.inbox)
async def greet(sender, instance, **kwargs):
    await Greeting.query.create(user=instance)
"""

SERVICE = """
import asyncio
from app import User, bus, models


async def main():
    async with bus:
        await models.create_all()
        for name in ("Ann", "Bea"):
            await User.query.create(name=name)


asyncio.run(main())
"""


async def test_a_worker_uses_the_models(tmp_path: Path, redis_url: str, prefix: str) -> None:
    """`edgy-bus worker` connects the registry, and its receivers publish in turn."""
    (tmp_path / "app.py").write_text(APP.format(redis=redis_url, prefix=prefix))
    (tmp_path / "service.py").write_text(SERVICE)
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "service.py", cwd=tmp_path
    )
    assert await service.wait() == 0
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'shop.sqlite'}")

    def greeted() -> list[int]:
        with engine.connect() as connection:
            return list(connection.execute(sa.text('SELECT "user" FROM greetings')).scalars())

    with (
        program("relay", "app:bus", folder=tmp_path),
        program("worker", "app:bus", folder=tmp_path) as worker,
    ):
        await eventually(lambda: sorted(greeted()) == [1, 2])
        assert worker.terminate() == 0, worker.output
    with engine.connect() as connection:
        models = connection.execute(sa.text("SELECT model FROM edgy_bus_outbox ORDER BY id"))
        assert sorted(models.scalars()) == ["shop.Greeting"] * 2 + ["shop.User"] * 2
    engine.dispose()


async def test_migrations_leave_the_outbox_alone(tmp_path: Path) -> None:
    """With the line of the page, and without it they would drop the tables."""
    url = f"sqlite:///{tmp_path / 'shop.sqlite'}"
    registry = Models(url).registry
    bus = edgy_bus.Bus("memory://", relay=False)
    publish(registry, bus)
    async with bus:
        await registry.create_all()
    registry.refresh_metadata()
    page = (Path(__file__).parents[2] / "docs/edgy.md").read_text("utf-8")
    [line] = re.findall(r"^    include_name=(lambda .*)$", page, re.MULTILINE)
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        for options, dropped in (({}, True), ({"include_name": eval(line)}, False)):
            context = MigrationContext.configure(connection, opts=options)
            differences = compare_metadata(context, registry.metadata_by_name[None])
            assert any(each[0] == "remove_table" for each in differences) is dropped
    engine.dispose()
