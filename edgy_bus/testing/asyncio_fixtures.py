"""The fixtures that are coroutines, for tests that pytest-asyncio runs, in each of its modes."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from edgy_bus.database import Database
    from edgy_bus.testing.inline_bus import InlineBus


@pytest_asyncio.fixture
async def _edgy_bus_asyncio_bus(request: pytest.FixtureRequest) -> "AsyncIterator[InlineBus]":
    from edgy_bus.testing.finding import opened_bus

    async with opened_bus(request) as opened:
        yield opened


@pytest_asyncio.fixture
async def _edgy_bus_asyncio_database(request: pytest.FixtureRequest) -> "AsyncIterator[Database]":
    from edgy_bus.testing.finding import opened_database

    async with opened_database(request) as opened:
        yield opened
