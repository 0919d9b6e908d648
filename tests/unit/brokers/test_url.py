"""URLs of Redis are read or refused, and no part of a password is in any text."""

import itertools
import traceback
from urllib.parse import quote

import pytest
from redis.asyncio.connection import ConnectionPool

from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.brokers.redis.connections import Connections
from edgy_bus.brokers.redis.url import MOST_CONNECTIONS, read_url
from edgy_bus.errors import ConfigurationError
from edgy_bus.wiring import make_broker

SECRET = "Sup3rSecret"


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379",
        "redis://localhost:6379/",
        "redis://localhost/15",
        "redis://[::1]:6379/0",
        "redis://user:password@host/0?client_name=mail&socket_connect_timeout=2",
        "redis://:password@host",
        "redis://host?db=3",
        "rediss://host?ssl_ca_certs=ca.pem&ssl_cert_reqs=required&ssl_check_hostname=yes",
        "unix:///run/redis.sock",
        "unix:///run/redis.sock?db=1&username=mail&password=secret",
        "unix://user@/run/redis.sock?password=secret",
    ],
)
def test_a_url_is_read(url: str) -> None:
    address = read_url(url)
    assert address.connections == MOST_CONNECTIONS
    Connections(address)


def test_max_connections_bounds_the_connections_of_the_library() -> None:
    address = read_url("redis://host?max_connections=4&db=1")
    assert address.connections == 4
    assert address.url == "redis://host?db=1"
    assert read_url("redis://host?max_connections=1000").connections == MOST_CONNECTIONS


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("socket_timeout=1", "socket_timeout .*limits the time"),
        ("timeout=1", "timeout .*limits the time"),
        ("decode_responses=true", "decode_responses .*as bytes"),
        ("encoding=latin-1", "encoding .*as bytes"),
        ("protocol=3", "protocol .*in one format"),
        ("legacy_responses=no", "legacy_responses .*in one format"),
        ("retry_on_timeout=yes", "retry_on_timeout .*repeated"),
        ("single_connection_client=true", "single_connection_client .*manages its connections"),
        ("health_check_interval=5", "health_check_interval .*manages its connections"),
        ("socket_keepalive=no", "socket_keepalive .*manages its connections"),
        ("max_connections=1", "at least 2"),
        ("max_connections=many", "at least 2"),
        ("max_connections=", "at least 2"),
        ("sokcet_timeout=3", "Did you mean socket_timeout"),
        ("client_nam=mail", "Did you mean client_name"),
        ("ssl_ca_certs=ca.pem", "needs rediss://"),
        ("password=secret", "unknown parameter"),
        ("db=first", "db .*number of a database"),
        ("ssl_include_verify_flags=many", "rediss://"),
    ],
)
def test_a_parameter_that_cannot_be_honoured_is_refused(parameter: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        RedisBroker(f"redis://host?{parameter}")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_connections", ["1", "-4", "²", "٤", "4.0", "1_000", "9" * 5_000, ""]),
        ("db", ["²", "-1", "1_0", "+1", "9" * 5_000, "first"]),
        ("socket_connect_timeout", ["nan", "inf", "0", "-1", "soon", ""]),
        ("ssl_check_hostname", ["maybe", "²", ""]),
        ("ssl_cert_reqs", ["always", "REQUIRED", ""]),
        ("ssl_min_version", ["²", "1.2", "3", "TLSv1_2"]),
    ],
)
def test_a_value_that_is_none_of_its_parameter_is_refused(name: str, values: list[str]) -> None:
    for value in values:
        with pytest.raises(ConfigurationError, match=f"the parameter {name} .*has to be") as raised:
            RedisBroker(f"rediss://host?{name}={quote(value)}")
        assert len(value) < 3 or value not in str(raised.value)


@pytest.mark.parametrize(
    "parameter",
    ["ssl_min_version=771", "ssl_cert_reqs=none", "ssl_check_hostname=No", "db=15"],
)
def test_the_values_of_parameters_are_passed_on(parameter: str) -> None:
    assert parameter in read_url(f"rediss://host?{parameter}").url
    RedisBroker(f"rediss://host?{parameter}")


def test_a_value_that_only_redis_py_knows_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot use"):
        RedisBroker("rediss://host?ssl_include_verify_flags=many")


def test_a_parameter_that_an_older_redis_py_does_not_know_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(pool: ConnectionPool) -> None:
        # As the constructor of a connection does.
        assert "client_name" in pool.connection_kwargs
        raise TypeError(f"unexpected keyword argument: {SECRET}")

    monkeypatch.setattr(ConnectionPool, "make_connection", refuse)
    with pytest.raises(ConfigurationError, match="cannot use") as refused:
        RedisBroker("redis://host?client_name=me")
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("number", ["²", "٤", "9" * 5_000])
def test_a_path_that_is_no_database_is_refused(number: str) -> None:
    with pytest.raises(ConfigurationError, match="not a Redis URL"):
        read_url(f"redis://host/{number}")


@pytest.mark.parametrize("url", ["redis://host/first", "redis://host:0", "unix://", "redis://h:p"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not a Redis URL"):
        read_url(url)


SIGNS = ["/", "?", "#", "[", "]", "@", ":", "%", "%zz", "&", "=", "//", " ", "\\", "é", "://"]


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("login", ["svc:{}", ":{}", "{}", "svc:9{}", "svc:{}:6379"])
@pytest.mark.parametrize("scheme", ["redis://", "rediss://", "unix://", "http://", ""])
def test_no_part_of_a_password_is_in_a_message(scheme: str, login: str, sign: str) -> None:
    for password in (f"{SECRET}{sign}{SECRET}", f"{sign}{SECRET}", f"{SECRET}{sign}"):
        for url in (
            f"{scheme}{login.format(password)}@127.0.0.1:6379/0",
            f"{scheme}{login.format(quote(password, safe=''))}@127.0.0.1:port/0",
            f"{scheme}host/0?{password}=1&{password}",
            f"{scheme}host/0?password={password}",
        ):
            try:
                broker = make_broker(url, "edgy")
            except ConfigurationError as error:
                text = "".join(traceback.format_exception(error))
                behind = [error.__cause__, error.__context__]
                assert SECRET.lower() not in text.lower(), url
                assert not any(SECRET in str(each) for each in behind), url
            else:
                assert SECRET not in repr(broker)
                assert SECRET not in repr(vars(broker)), url


def test_a_password_in_percent_encoding_is_used() -> None:
    for parts in itertools.permutations("/?#[]@:%", 3):
        password = f"{SECRET}{''.join(parts)}"
        connections = Connections(read_url(f"redis://svc:{quote(password, safe='')}@host/0"))
        settings = connections._pools.get().connection_kwargs
        assert (settings["password"], settings["host"]) == (password, "host")
