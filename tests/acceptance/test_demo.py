"""Test `edgy-bus demo`: servers, work, a killed worker, and an account that adds up."""

import asyncio
import re
from pathlib import Path

import pytest
from redis.asyncio import Redis

from edgy_bus.testing.servers import Server
from tests.acceptance.programs import program


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
async def test_the_account_adds_up(
    tmp_path: Path, database_url: str, redis_server: Server, request: pytest.FixtureRequest
) -> None:
    arguments = ["demo", "--fast"]
    if database_url.startswith("postgresql"):
        arguments += ["--database", request.getfixturevalue("postgres_server").url]
    with program(*arguments, folder=tmp_path, EDGY_BUS_REDIS_URL=redis_server.url) as demo:
        status = await asyncio.to_thread(demo.process.wait, 110)
    assert status == 0, demo.output
    assert "broker: " in demo.output
    assert re.search(r"killed notifications-1 \(process \d+\) with SIGKILL", demo.output)
    assert "\x1b" not in demo.output  # plain lines without a terminal
    keys = re.search(r"keys under (edgy-demo-\w+:\*)", demo.output)
    assert keys is not None
    async with Redis.from_url(redis_server.url) as client:
        remaining = [key async for key in client.scan_iter(match=keys[1])]
    assert remaining == []
