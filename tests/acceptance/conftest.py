"""Provide the working directory, database and broker that a test shares with its programs."""

import importlib.util
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.acceptance.programs import Program, program
from tests.support import eventually


class Shop:
    """The place of `shop.py`: its programs, and its models in the test's own process."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self.module = _loaded(folder / "shop.py")
        self.Order: Any = self.module.Order
        self.Call: Any = self.module.Call

    def program(self, *arguments: str, **environment: str) -> AbstractContextManager[Program]:
        return program(*arguments, folder=self.folder, **{**self.environment, **environment})

    async def effects(self) -> list[Any]:
        return list(await self.module.Sent.query.order_by("id"))

    async def sent(self) -> list[tuple[int, int]]:
        return [(one.order_id, one.state) for one in await self.effects()]

    async def calls(self) -> list[Any]:
        """Of the receiver without an inbox."""
        return list(await self.Call.query.order_by("id"))

    async def all_called(self, count: int) -> None:
        async def are() -> bool:
            return len({one.event for one in await self.calls()}) >= count

        await eventually(are, f"calls for {count} events")

    async def all_sent(self, count: int) -> None:
        async def are() -> bool:
            return len(await self.sent()) >= count

        await eventually(are, f"{count} effects")


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"shop_of_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def shop(
    tmp_path: Path, database_url: str, redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Shop]:
    shutil.copy(Path(__file__).with_name("shop.py"), tmp_path)
    environment = {"SHOP_DATABASE": database_url, "SHOP_BROKER": redis_url, "SHOP_PREFIX": prefix}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    one = Shop(tmp_path, environment)
    async with one.module.bus, one.module.mail_registry:
        await one.module.mail_registry.create_all()
        yield one
