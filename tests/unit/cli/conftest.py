"""A program of a user's, whose bus has a broker in memory."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

import edgy_bus as edgy
from edgy_bus.cli.watch import Watch


@pytest.fixture
def bus(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> edgy.Bus:
    """The bus `program:bus` of the service `accounts`, whose start would be noticed."""
    module = ModuleType("program")
    bus = edgy.Bus("memory://", service="accounts")
    edgy.Registry(sqlite_url, bus=bus)

    @bus.on_start
    async def refuse() -> None:
        pytest.fail("an operator's command started the service")

    vars(module)["bus"] = bus
    monkeypatch.setitem(sys.modules, "program", module)
    return bus


@pytest.fixture
def watch() -> Iterator[Watch]:
    """A watch that has not begun: the signals stay those of the tests."""
    watch = Watch()
    yield watch
    for end in (watch._reader, watch._writer):
        end.close()
