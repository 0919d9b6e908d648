"""A program of a user's, whose bus has a broker in memory."""

import sys
from types import ModuleType

import pytest

import edgy_bus as edgy


@pytest.fixture
def bus(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> edgy.Bus:
    """The bus `program:bus` of the service `accounts`, whose start would be noticed."""
    module = ModuleType("program")
    bus = edgy.Bus("memory://", service="accounts")
    edgy.Registry(sqlite_url, bus=bus)

    @bus.on_start
    async def refuse() -> None:
        pytest.fail("an operator's command started the service")

    module.bus = bus  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "program", module)
    return bus
