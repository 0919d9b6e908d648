"""The receivers of the example programs bear every history that the testing kit knows."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select

from edgy_bus.errors import ConfigurationError
from edgy_bus.testing import inline
from edgy_bus.testing.chaos import MODES

USER = {"id": 1, "name": "Ada", "email": "ada@example.com"}


@contextmanager
def imported(name: str, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Import a program, which reads its environment, anew for each test."""
    name = f"workers.{name}"
    monkeypatch.setenv("EDGY_BUS_DATABASE_URL", database_url)
    monkeypatch.setenv("EDGY_BUS_REDIS_URL", "redis://localhost:1")
    sys.modules.pop(name, None)
    yield importlib.import_module(name)
    sys.modules.pop(name, None)


@pytest.fixture(params=["notifications", "search"])
def program(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> Iterator[ModuleType]:
    with imported(request.param, database_url, monkeypatch) as module:
        yield module


@pytest.fixture
def billing(monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> Iterator[ModuleType]:
    pytest.importorskip("greenlet", reason="SQLAlchemy's asynchronous sessions need greenlet")
    with imported("billing", sqlite_url, monkeypatch) as module:
        yield module


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


@pytest.mark.parametrize("mode", MODES)
async def test_a_user_gets_one_invoice(billing: ModuleType, mode: str) -> None:
    async with inline(billing.bus, mode=mode, rollback=False) as bus:
        await bus.deliver(bus.event("post_save", "accounts.User", USER))
        async with billing.Session() as session:
            invoices = (await session.scalars(select(billing.Invoice))).all()
        assert [invoice.user_id for invoice in invoices] == [1]
        assert len(bus.published("post_save", billing.Invoice)) == 1
    await billing.engine.dispose()


async def test_the_kit_makes_no_row_of_a_mapped_class(billing: ModuleType) -> None:
    async with inline(billing.bus, rollback=False) as bus:
        with pytest.raises(ConfigurationError, match=r'event\("post_save", "billing.Invoice", '):
            bus.event("post_save", billing.Invoice, {"user_id": 1})
        wrong: Any = {"name": {"old": "a", "new": "b"}}
        with pytest.raises(ConfigurationError, match=r"'name' has .* write a pair, \(old, new\)"):
            bus.event("post_update", "accounts.User", USER, changes=wrong)
    await billing.engine.dispose()


async def test_the_kit_does_not_pretend_to_roll_back_sessions(billing: ModuleType) -> None:
    with pytest.raises(ConfigurationError, match="edgy_bus_rollback = false"):
        async with inline(billing.bus):
            pass
    await billing.engine.dispose()
