"""The broker on a real Redis: what every broker must do, and what only this one can get wrong."""

import asyncio

import pytest

from edgy_bus.brokers.base import StreamHead
from edgy_bus.brokers.redis import RedisBroker, connection
from edgy_bus.errors import BrokerUnavailable, ConfigurationError
from edgy_bus.testing.conformance import PARTITION, BrokerConformance, letter_of, names, stand, take


class TestRedisBroker(BrokerConformance):
    @pytest.fixture
    async def broker(self, redis_url, prefix):
        broker = RedisBroker(redis_url, prefix)
        await broker.connect()
        yield broker
        await broker.close()

    async def test_a_deleted_stream_is_noticed_and_its_group_comes_back_at_the_start(
        self, broker, redis_client
    ):
        head = await stand(broker, "a")
        lease = await take(broker, "w")
        assert await names(broker, lease) == ["a"]
        await redis_client.delete(broker.keys.events(PARTITION))
        assert await broker.publish(PARTITION, head, []) is None
        await stand(broker, "b")
        assert await names(broker, lease) == ["b"]

    async def test_what_was_put_aside_can_be_settled_in_a_group_that_is_gone(
        self, broker, redis_client
    ):
        await stand(broker, "a")
        lease = await take(broker, "w")
        (entry,) = (await broker.fetch(lease, 1, inherit=False)).entries
        await redis_client.xgroup_destroy(broker.keys.events(PARTITION), "mail")
        await broker.settle(lease, [entry.id], [letter_of(entry).kept])
        assert await names(broker, lease) == ["a"], "it begins anew"

    async def test_scripts_that_the_server_forgot_are_loaded_again(self, broker, redis_client):
        await stand(broker, "a")
        await redis_client.script_flush()
        assert (await broker.inspect(PARTITION, StreamHead(), "x")).newest is not None
        lease = await take(broker, "w")
        assert await broker.renew_all([lease] * 3, 30) == [True] * 3
        await redis_client.script_flush()
        assert await broker.renew_all([lease] * 3, 30) == [True] * 3
        assert await names(broker, lease) == ["a"], (
            "no answer of the calls that were refused is left on a connection"
        )


async def test_a_server_that_is_not_there_is_unavailable():
    broker = RedisBroker("redis://127.0.0.1:1", "t")
    with pytest.raises(BrokerUnavailable):
        await broker.connect()
    await broker.close()


def test_a_url_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match="Redis URL"):
        RedisBroker("http://localhost")


async def test_no_cancellation_is_lost_whenever_it_comes(redis_url: str, prefix: str) -> None:
    """A task that goes on after it was cancelled keeps a lease, or a shutdown, waiting for ever."""
    broker = RedisBroker(redis_url, prefix)
    await broker.members("mail")
    for steps in range(40):
        for _ in range(10):
            asking = asyncio.create_task(_ask_for_ever(broker))
            for _ in range(steps):
                await asyncio.sleep(0)
            asking.cancel()
            done, _ = await asyncio.wait((asking,), timeout=5)
            assert done, f"the cancellation after {steps} steps was lost"
            assert asking.cancelled()
    await broker.close()


async def _ask_for_ever(broker: RedisBroker) -> None:
    while True:
        await broker.members("mail")


async def test_a_server_that_hangs_is_unavailable(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(connection, "TIMEOUT", 0.2)
    server = await asyncio.start_server(never_answers, "127.0.0.1", 0)
    async with server:
        broker = RedisBroker(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(BrokerUnavailable, match="TimeoutError"):
            await broker.connect()
        await broker.close()
