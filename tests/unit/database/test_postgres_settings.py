"""Settings of a PostgreSQL database: defaults, precedence and pgbouncer."""

from typing import Any

import pytest
from databases.core import DatabaseURL

from edgy_bus.database import url as urls
from edgy_bus.database.backends.postgres_settings import Settings, settings
from edgy_bus.errors import ConfigurationError


def of(query: str = "", **options: Any) -> Settings:
    url = f"postgresql://ada:hush@db:5433/shop{query}"
    return settings(DatabaseURL(url), urls.parse(url), options)


def test_everything_has_a_limit_by_default() -> None:
    chosen = of()
    assert chosen.connection["timeout"] == 10
    assert chosen.connection["command_timeout"] == 30
    assert chosen.acquire_timeout == 30
    assert chosen.close_timeout == 10
    assert chosen.max_idle == 300
    assert chosen.definition_timeout == 600


def test_options_of_the_url_replace_defaults_and_arguments_replace_options() -> None:
    chosen = of("?command_timeout=60&acquire_timeout=5&max_size=3", acquire_timeout=7, min_size=2)
    assert chosen.connection["command_timeout"] == 60
    assert chosen.acquire_timeout == 7
    assert chosen.pool == {"min_size": 2, "max_size": 3}


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", 600), ("?command_timeout=900", 900), ("?command_timeout=none", None)],
)
def test_changing_tables_is_allowed_at_least_as_long_as_a_statement(
    query: str, expected: float | None
) -> None:
    assert of(query).definition_timeout == expected


@pytest.mark.parametrize("name", ["command_timeout", "acquire_timeout", "close_timeout"])
def test_a_limit_can_be_switched_off(name: str) -> None:
    chosen = of(f"?{name}=none")
    limits = {
        "command_timeout": chosen.connection["command_timeout"],
        "acquire_timeout": chosen.acquire_timeout,
        "close_timeout": chosen.close_timeout,
    }
    assert limits[name] is None


def test_pgbouncer_turns_the_statement_cache_off() -> None:
    chosen = of("?pgbouncer=true")
    assert chosen.pgbouncer
    assert chosen.connection["statement_cache_size"] == 0
    assert "pgbouncer" not in chosen.connection
    assert of("?pgbouncer=false").pgbouncer is False
    assert of("").pgbouncer is None


def test_pgbouncer_with_a_schema_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="ALTER ROLE"):
        of("?pgbouncer=true&schema=shop")
