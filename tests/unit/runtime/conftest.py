"""Fixtures of the runtime's tests."""

from collections.abc import AsyncIterator

import pytest

from edgy_bus.runtime import inbox
from tests.unit.runtime.support import Effects


@pytest.fixture
async def effects(sqlite_url: str) -> AsyncIterator[Effects]:
    effects = Effects(sqlite_url)
    async with effects.registry:
        await effects.registry.create_all()
        await effects.registry.database.create_tables(inbox.metadata)
        yield effects
