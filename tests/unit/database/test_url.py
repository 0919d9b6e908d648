"""Test database URLs: valid forms, and errors that never show a password."""

import pytest

from edgy_bus.database import Database
from edgy_bus.database.url import SQLITE_TIMEOUT, parse
from edgy_bus.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "kind", "address"),
    [
        ("sqlite:///db.sqlite", "sqlite", "sqlite:///db.sqlite"),
        ("sqlite:////var/lib/db.sqlite", "sqlite", "sqlite:////var/lib/db.sqlite"),
        ("sqlite:///:memory:", "sqlite", "sqlite:///:memory:"),
        ("sqlite://", "sqlite", "sqlite://"),
        ("postgresql://ada:hush@db:5433/shop", "postgresql", "postgresql://ada:hush@db:5433/shop"),
        ("postgres://db/shop", "postgresql", "postgresql://db/shop"),
        ("POSTGRES://db/shop?max_size=5", "postgresql", "postgresql://db/shop"),
    ],
)
def test_schemes(url, kind, address):
    target = parse(url)
    assert (target.kind, target.address) == (kind, address)


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+asyncmy", "mysql+aiomysql"])
def test_a_scheme_that_is_not_supported_yet_is_refused(scheme):
    with pytest.raises(
        ConfigurationError,
        match="MySQL and MariaDB are not supported yet; use sqlite or postgresql",
    ):
        Database(f"{scheme}://ada:hush@db/shop")


@pytest.mark.parametrize("url", ["", "db.sqlite", "//db/shop"])
def test_a_missing_scheme_is_refused(url):
    with pytest.raises(ConfigurationError, match="has no scheme: write sqlite:///FILE, or"):
        Database(url)


@pytest.mark.parametrize("url", ["redis://db", "oracle://db", "postgresql+psycopg2://db/shop"])
def test_an_unknown_scheme_is_refused(url):
    with pytest.raises(
        ConfigurationError, match=r"unknown database scheme .*: the supported ones are sqlite://"
    ):
        Database(url)


def test_options_of_sqlite_have_types_and_defaults():
    assert parse("sqlite:///db").options == {"timeout": SQLITE_TIMEOUT}
    target = parse("sqlite:///db?timeout=1.5&cached_statements=9&mode=ro&immutable=1&vfs=unix")
    assert target.options == {"timeout": 1.5, "cached_statements": 9}
    assert target.uri == {"mode": "ro", "immutable": "1", "vfs": "unix"}
    assert target.address == "sqlite:///db"


def test_options_of_postgresql_have_types():
    target = parse(
        "postgresql:///shop?host=/run/pg&min_size=2&max_size=5&timeout=1.5&command_timeout=3"
        "&schema=Shop&sslmode=Require&statement_cache_size=0&application_name=shop%20worker"
    )
    assert target.schema == "Shop"
    assert target.options == {
        "host": "/run/pg",
        "min_size": 2,
        "max_size": 5,
        "timeout": 1.5,
        "command_timeout": 3.0,
        "ssl": "require",
        "statement_cache_size": 0,
        "application_name": "shop worker",
    }


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("False", False), ("verify-full", "verify-full")]
)
def test_ssl_is_yes_or_no_or_a_mode(text, value):
    assert parse(f"postgresql://db/shop?ssl={text}").options["ssl"] == value


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (
            "sqlite:///db?timeuot=5",
            r"unknown option 'timeuot' .* cached_statements, immutable, mode, timeout, vfs",
        ),
        ("sqlite:///db?schema=shop", "unknown option 'schema'"),
        (
            "postgresql://ada:hush@db/shop?mode=ro",
            "unknown option 'mode' .* max_queries, max_size, min_size, pgbouncer, schema, ssl",
        ),
        ("postgresql://ada:hush@db/shop?password=hush", "unknown option 'password'"),
        ("sqlite:///db?timeout=soon", "option 'timeout' does not take 'soon'"),
        ("postgresql://ada:hush@db/shop?max_size=many", "option 'max_size' does not take 'many'"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_without_showing_the_password(url, reason):
    with pytest.raises(ConfigurationError, match=reason) as caught:
        Database(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "place",
    [
        "ada:hu/sh@db/shop",
        "ada:hu#sh@db/shop",
        "ada:hu?sh@db/shop",
        "ada:hu?sh=1@db/shop",
        "ada:hu[sh@db/shop",
        "ada:hush@db:port/shop",
        "ada:hush@db:99999/shop",
    ],
)
def test_a_url_that_is_not_well_formed_is_refused_without_showing_the_password(place):
    with pytest.raises(ConfigurationError, match="percent-encod") as caught:
        Database(f"postgresql://{place}")
    assert "hu" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_password_may_be_percent_encoded():
    settings = Database("postgresql://ada:hu%2Fsh%40@db:5433/shop")._backend.connect_arguments()
    assert (settings["user"], settings["password"]) == ("ada", "hu/sh@")
    assert (settings["host"], settings["port"], settings["database"]) == ("db", 5433, "shop")


def test_a_schema_becomes_the_search_path_as_it_is_written():
    settings = Database(
        'postgresql://db/shop?schema=My"Shop&application_name=worker'
    )._backend.connect_arguments()
    assert settings["server_settings"] == {
        "search_path": '"My""Shop"',
        "application_name": "worker",
    }


def test_options_of_the_pool_are_not_those_of_a_connection():
    database = Database("postgresql://db/shop?max_size=5&timeout=2", min_size=3, command_timeout=7)
    settings = database._backend.connect_arguments()
    assert (settings["timeout"], settings["command_timeout"]) == (2.0, 7)
    assert not {"max_size", "min_size"} & set(settings)


def test_a_database_does_not_show_its_password():
    database = Database("postgresql://ada:hush@db/shop")
    assert "hush" not in f"{database!r} {database} {database.url!r}"


def test_the_force_rollback_of_databases_is_refused_because_transactions_have_it():
    with pytest.raises(
        ConfigurationError, match=r"use `database\.transaction\(force_rollback=True\)`"
    ):
        Database("sqlite://", force_rollback=True)


@pytest.mark.parametrize(
    ("url", "name"), [("sqlite:///db", "sqlite"), ("postgres://db/shop", "postgresql")]
)
def test_a_database_names_its_dialect(url, name):
    assert Database(url).dialect.name == name


async def test_a_name_of_a_file_may_hold_blanks_and_percent_signs(tmp_path):
    async with Database(f"sqlite:///{tmp_path}/a%20b%25.sqlite"):
        assert (tmp_path / "a b%.sqlite").exists()
