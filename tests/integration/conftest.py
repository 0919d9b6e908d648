"""What integration tests share beyond the servers of `tests/conftest.py`."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis


@pytest.fixture
async def redis_client(redis_url: str) -> AsyncIterator[Redis]:
    """A plain client that returns bytes, to look at what the library wrote, or to break it."""
    async with Redis.from_url(redis_url) as client:
        yield client
