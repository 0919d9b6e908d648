"""The receivers of the example programs bear every history that the testing kit knows."""

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from edgy_bus.testing import inline
from edgy_bus.testing.chaos import MODES

USER = {"id": 1, "name": "Ada", "email": "ada@example.com"}


@pytest.fixture(params=["notifications", "search"])
def program(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> Iterator[ModuleType]:
    """Import a program, which reads its environment, anew for each test."""
    name = f"workers.{request.param}"
    monkeypatch.setenv("EDGY_BUS_DATABASE_URL", database_url)
    monkeypatch.setenv("EDGY_BUS_REDIS_URL", "redis://localhost:1")
    sys.modules.pop(name, None)
    yield importlib.import_module(name)
    sys.modules.pop(name, None)


@pytest.mark.parametrize("mode", MODES)
async def test_repeated_events_change_nothing(program: ModuleType, mode: str) -> None:
    async with inline(program.bus, mode=mode) as bus:
        await bus.deliver(bus.event("post_save", "accounts.User", USER))
        if program.__name__ == "workers.notifications":
            (mail,) = await program.Mail.query.all()
            assert (mail.user_id, mail.kind) == (1, "welcome")
            assert len(bus.handled(program.welcome)) == 1
            return
        await bus.deliver(bus.event("post_update", "accounts.User", {**USER, "name": "Lovelace"}))
        assert [entry.name for entry in await program.SearchEntry.query.all()] == ["Lovelace"]
        await bus.deliver(bus.event("post_delete", "accounts.User", USER))
        assert await program.SearchEntry.query.count() == 0
