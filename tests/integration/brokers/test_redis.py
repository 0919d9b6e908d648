import pytest

from edgy_bus.brokers.base import Head
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.errors import BrokerUnavailable, ConfigurationError
from edgy_bus.testing.conformance import PLACE, BrokerConformance, names, stand, take


class TestRedisBroker(BrokerConformance):
    @pytest.fixture
    async def broker(self, redis_url, prefix):
        broker = RedisBroker(redis_url, prefix)
        await broker.connect()
        yield broker
        await broker.close()

    async def test_a_deleted_stream_is_noticed_and_its_group_comes_back_at_the_start(self, broker, redis_client):
        head = await stand(broker, "a")
        lease = await take(broker, "w")
        assert await names(broker, lease) == ["a"]
        await redis_client.delete(broker.keys.events(PLACE))
        assert await broker.publish(PLACE, head, []) is None
        await stand(broker, "b")
        assert await names(broker, lease) == ["b"]

    async def test_scripts_that_the_server_forgot_are_loaded_again(self, broker, redis_client):
        await stand(broker, "a")
        await redis_client.script_flush()
        assert (await broker.inspect(PLACE, Head(), "x")).newest is not None


async def test_a_server_that_is_not_there_is_unavailable():
    broker = RedisBroker("redis://127.0.0.1:1", "t")
    with pytest.raises(BrokerUnavailable):
        await broker.connect()
    await broker.close()


def test_a_url_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match="Redis URL"):
        RedisBroker("http://localhost")
