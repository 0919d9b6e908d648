"""The databases of the tests of Edgy: SQLite, and PostgreSQL with both of its drivers."""

import pytest


@pytest.fixture(params=["sqlite", "asyncpg", "psycopg"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Every test that uses it runs on both databases, and with both drivers of PostgreSQL."""
    if request.param == "sqlite":
        url: str = request.getfixturevalue("sqlite_url")
        return url
    postgres: str = request.getfixturevalue("postgres_url")
    return postgres.replace("postgresql://", f"postgresql+{request.param}://")
