"""Test against a real pgbouncer in transaction mode, with fewer connections than programs use.

`.ci/run` installs the program on Debian; on a laptop without it the tests are skipped.
"""

import asyncio
import os
import pwd
import random
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import make_url

import edgy_bus as edgy
from edgy_bus.database import Database
from edgy_bus.errors import ConfigurationError, DatabaseError
from tests.integration.service import QUICK
from tests.support import eventually, lacks

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")

CONFIGURATION = """
[databases]
shop = {server} connect_query='SET search_path TO {schema}'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if os.geteuid() == 0:
        # pgbouncer runs as nobody then, who has to find its file.
        for place in (tmp_path, *tmp_path.parents[:2]):
            place.chmod(0o755)
    return tmp_path


class Bouncer:
    """A pgbouncer before the test's schema."""

    def __init__(self, postgres_url: str, folder: Path, mode: str) -> None:
        url = make_url(postgres_url)
        server = {
            "host": url.query.get("host", url.host),
            "port": url.port,
            "dbname": url.database,
            "user": url.username or pwd.getpwuid(os.geteuid()).pw_name,
            "password": url.password,
        }
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        file = folder / "pgbouncer.ini"
        file.write_text(
            CONFIGURATION.format(
                server=" ".join(f"{name}={value}" for name, value in server.items() if value),
                schema=url.query["schema"],
                port=self.port,
                mode=mode,
            )
        )
        user = ("-u", "nobody") if os.geteuid() == 0 else ()
        if PROGRAM is None:
            lacks("pgbouncer is not installed; on Debian: apt-get install pgbouncer")
        self._process = subprocess.Popen([PROGRAM, "-q", *user, str(file)], cwd=folder)
        self.url = f"postgresql://shop@127.0.0.1:{self.port}/shop"

    async def ready(self) -> "Bouncer":
        await eventually(self._listens, "pgbouncer")
        return self

    def _listens(self) -> bool:
        assert self._process.poll() is None, "pgbouncer has ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        # It keeps nothing, and its versions take other signals in other ways.
        self._process.kill()
        self._process.wait()


@pytest.fixture
def bouncer(postgres_url: str, folder: Path) -> Iterator[Bouncer]:
    bouncer = Bouncer(postgres_url, folder, "transaction")
    yield bouncer
    bouncer.stop()


@pytest.fixture
async def url(bouncer: Bouncer) -> str:
    return (await bouncer.ready()).url


@pytest.fixture
async def keeping_url(postgres_url: str, folder: Path) -> AsyncIterator[str]:
    """The URL of a pgbouncer that keeps a connection for as long as its client is connected."""
    bouncer = Bouncer(postgres_url, folder, "session")
    yield (await bouncer.ready()).url
    bouncer.stop()


async def test_services_and_workers_share_few_connections_of_the_server(url: str) -> None:
    buses = [edgy.Bus("memory://", service=f"shop-{n}", **QUICK) for n in range(2)]
    databases = [Database(f"{url}?pgbouncer=true&max_size=8") for _ in buses]
    heard: list[list[tuple[int, int]]] = [[], []]
    models: list[Any] = []
    for bus, database, seen in zip(buses, databases, heard, strict=True):
        models.append(shop_model(bus, database, seen))
    async with buses[0], buses[0].worker(), buses[1], buses[1].worker():
        totals = await asyncio.gather(
            *(work(model, number) for model in models for number in range(8))
        )
        for model, seen, first in zip(models, heard, (0, 8), strict=True):
            rows = {row.id: row.count for row in await model.query.filter()}
            assert sorted(rows.values()) == sorted(chain(*totals[first : first + 8]))
            await all_heard(seen, rows)


async def all_heard(seen: list[tuple[int, int]], counts: dict[int, int]) -> None:
    """Wait until a receiver has got each row with its last count, each change once, in order."""
    await eventually(lambda: dict(seen) == counts)
    for key, count in counts.items():
        assert [n for row, n in seen if row == key] == list(range(count + 1))


def shop_model(bus: edgy.Bus, database: Database, seen: list[tuple[int, int]]) -> Any:
    owner = edgy.Registry(database, bus=bus)

    class Item(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        count: int = edgy.IntegerField(default=0)
        label: str = edgy.CharField(max_length=40)

        class Meta:
            registry = owner
            tablename = f"items_{bus.service.replace('-', '_')}"

    bus.on_start(owner.create_all)

    @edgy.post_save(Item, inbox=database)
    @edgy.post_update(Item, inbox=database)
    async def hear(sender: Any, instance: Any, **_: Any) -> None:
        seen.append((instance.id, instance.count))

    return Item


async def work(model: Any, number: int) -> list[int]:
    """Make and change rows in every way, beside statements of other shapes; return the counts."""
    database = model.meta.registry.database
    draw = random.Random(number)
    counts = []
    for turn in range(6):
        item = await model.query.create(label=f"{number}-{turn}")
        for count in range(draw.randint(1, 4)):
            if draw.random() < 0.5:
                await item.update(count=edgy.F("count") + 1)
            else:
                async with database.transaction():
                    locked = await model.query.for_update().get(id=item.id)
                    assert locked.label == f"{number}-{turn}"
                    await locked.update(count=locked.count + 1)
            echo = sa.select(
                sa.literal(number, sa.Integer).label("n"), sa.literal(count).label("c")
            )
            assert (await database.run(echo)).rows == [{"n": number, "c": count}]
        with pytest.raises(ValueError, match="rolled back"):
            async with database.transaction():
                await model.query.create(label="never seen")
                raise ValueError("rolled back")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await database.run(sa.text("SELECT pg_sleep(1)"))
        counts.append((await model.query.get(id=item.id)).count)
    return counts


async def test_a_pooler_that_the_url_does_not_name_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"a pooler stands between .* \?pgbouncer=true"):
        async with Database(url):
            pytest.fail("it connected")


async def test_a_pooler_that_refuses_the_schema_names_the_remedy(url: str) -> None:
    with pytest.raises(DatabaseError, match=r"search_path: a pooler .* ALTER ROLE"):
        async with Database(f"{url}?pgbouncer=false&schema=shop"):
            pytest.fail("it connected")


async def test_a_pooler_that_keeps_sessions_works_when_the_url_says_so(keeping_url: str) -> None:
    with pytest.raises(ConfigurationError, match="a pooler stands between"):
        async with Database(keeping_url):
            pytest.fail("it connected")
    async with Database(f"{keeping_url}?pgbouncer=false&max_size=2") as database:
        one = sa.select(sa.literal(1).label("one"))
        for _ in range(3):
            assert (await database.run(one)).rows == [{"one": 1}]
