"""The outbox that a test fills, and the broker that it is relayed to."""

from collections.abc import AsyncIterator

import pytest

from edgy_bus.outbox.store import OutboxStore
from tests.unit.outbox.support import Away, store_in


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[OutboxStore]:
    store = await store_in(sqlite_url)
    yield store
    await store.database.disconnect()


@pytest.fixture
def broker() -> Away:
    return Away()
