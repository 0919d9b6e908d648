"""Every test has a place of its own on the servers, and leaves nothing behind."""

from urllib.parse import urlsplit

import pytest
import redis

from edgy_bus.testing.servers import postgres_execute

_seen: dict[str, str] = {}


def test_a_prefix_takes_keys_with_hash_tags(prefix, redis_url):
    with redis.Redis.from_url(redis_url) as client:
        client.xadd(f"{prefix}:{{accounts.User:3}}:events", {"a": "b"})
        client.set(f"{prefix}y:someone-else", "kept", ex=60)
    _seen["prefix"] = prefix


def test_keys_below_a_prefix_are_gone_afterwards_and_no_others(prefix, redis_url):
    if "prefix" not in _seen:
        pytest.skip("the test before this one did not run")
    assert prefix != _seen["prefix"]
    with redis.Redis.from_url(redis_url) as client:
        assert list(client.scan_iter(match=f"{_seen['prefix']}*")) == [
            f"{_seen['prefix']}y:someone-else".encode()
        ]
        client.delete(f"{_seen['prefix']}y:someone-else")


def test_a_schema_exists(postgres_url, postgres_server):
    schema = urlsplit(postgres_url).query.removeprefix("schema=")
    postgres_execute(postgres_server.url, f"CREATE TABLE {schema}.t (a int)")
    _seen["schema"] = schema


def test_a_schema_is_gone_afterwards(postgres_server):
    if "schema" not in _seen:
        pytest.skip("the test before this one did not run")
    postgres_execute(
        postgres_server.url,
        f"DO $$ BEGIN ASSERT to_regnamespace('{_seen['schema']}') IS NULL; END $$",
    )


async def test_a_client_looks_at_redis(redis_client, prefix):
    await redis_client.set(f"{prefix}:key", b"\xff")
    assert await redis_client.get(f"{prefix}:key") == b"\xff"
