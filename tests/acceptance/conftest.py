"""The folder in which a test's programs run, and the database and broker that they share with the test."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.settings import EventSettings
from tests.acceptance.programs import Program, program
from tests.support import eventually


class Shop:
    """The place of `shop.py`: its programs, and its tables as the test sees them."""

    def __init__(self, folder: Path, database_url: str, broker_url: str, prefix: str) -> None:
        shutil.copy(Path(__file__).with_name("shop.py"), folder / "shop.py")
        self.folder = folder
        self.environment = {"SHOP_DATABASE": database_url, "SHOP_BROKER": broker_url, "SHOP_PREFIX": prefix}
        self.database = edgy.Database(database_url)
        self.bus = edgy.Bus(broker_url, service="shop", prefix=prefix, relay=False, events=EventSettings(partitions=2))
        self.registry, self.plain = edgy.Registry(self.database, bus=self.bus), edgy.Registry(self.database)
        self.Order, self.Sent = self._declare()

    def _declare(self) -> tuple[Any, Any]:
        own, plain = self.registry, self.plain

        class Order(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            state: int = edgy.IntegerField(default=0)

            class Meta:
                registry = own

        class Sent(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            order_id: int = edgy.BigIntegerField()
            state: int = edgy.IntegerField()
            process: int = edgy.IntegerField()

            class Meta:
                registry = plain

        return Order, Sent

    def program(self, *arguments: str, **environment: str) -> AbstractContextManager[Program]:
        return program(*arguments, folder=self.folder, **{**self.environment, **environment})

    async def sent(self) -> list[tuple[int, int]]:
        return [(one.order_id, one.state) for one in await self.Sent.query.order_by("id")]

    async def all_sent(self, count: int) -> None:
        async def are() -> bool:
            return len(await self.sent()) >= count

        await eventually(are, f"{count} effects")


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, redis_url: str, prefix: str) -> AsyncIterator[Shop]:
    one = Shop(tmp_path, database_url, redis_url, prefix)
    async with one.bus:
        await one.registry.create_all()
        await one.plain.create_all()
        yield one
