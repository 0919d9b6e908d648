"""The log of `databases`, without values."""

import logging

import pytest

from edgy_bus.database import Database
from edgy_bus.database.quiet import _without_values, silence_values


def test_values_of_statements_stay_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    silence_values()
    silence_values()
    logger = logging.getLogger("databases")
    with caplog.at_level(logging.DEBUG, "databases"):
        logger.debug("Query: %s Args: %s", "INSERT INTO a VALUES ($1)", "('hunter2',)")
        logger.info("Connected to database %s", "db")
    assert "hunter2" not in caplog.text
    assert "INSERT INTO a" in caplog.text
    assert "Connected to database db" in caplog.text
    assert sum("WithoutValues" in repr(each) for each in logger.filters) == 1


async def test_a_database_silences_its_values(
    caplog: pytest.LogCaptureFixture, sqlite_url: str
) -> None:
    logging.getLogger("databases").removeFilter(_without_values)
    with caplog.at_level(logging.DEBUG, "databases"):
        async with Database(sqlite_url) as database:
            await database.fetch_all("SELECT :word AS word", {"word": "hunter2"})
    assert "AS word" in caplog.text
    assert "hunter2" not in caplog.text
