"""Wiring: which broker a URL means."""

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.bus import Bus
from edgy_bus.errors import ConfigurationError
from edgy_bus.wiring import make_broker


@pytest.mark.parametrize(
    "url", ["redis://localhost", "rediss://localhost", "unix:///run/redis.sock", "memory://"]
)
def test_a_scheme_chooses_the_broker_and_connects_nothing(url: str) -> None:
    kind = MemoryBroker if url == "memory://" else RedisBroker
    assert isinstance(make_broker(url, "edgy"), kind)


@pytest.mark.parametrize("url", ["kafka://localhost", "localhost:6379", ""])
def test_an_unknown_scheme_is_refused_with_those_that_are_known(url: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"unknown broker scheme .*redis://, rediss://, unix://, memory://"
    ):
        make_broker(url, "edgy")
    with pytest.raises(ConfigurationError, match="unknown broker scheme"):
        Bus(url)


def test_a_prefix_that_would_spoil_keys_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the prefix"):
        make_broker("redis://localhost", "a:b")
