"""The id of an outbox: what a database that does not answer must not decide."""

from typing import Any

import pytest

from edgy_bus.errors import DatabaseError, DatabaseUnavailable
from edgy_bus.outbox.store.identity import ENTRY, home_of, identify
from tests.support import Told


class Refusing:
    """A PostgreSQL that refuses every statement with an error."""

    def __init__(self, error: DatabaseError) -> None:
        self._error = error
        self.dialect: Any = type("Dialect", (), {"name": "postgresql"})

    async def run(self, *_: object) -> Any:
        raise self._error


async def test_a_database_that_does_not_answer_gives_no_id() -> None:
    away: Any = Refusing(DatabaseUnavailable("away"))
    with pytest.raises(DatabaseUnavailable):
        await home_of(away)
    with Told() as told, pytest.raises(DatabaseUnavailable):
        await identify(away, {ENTRY: "aaaa.11111111"}, "22222222")
    assert told.all == []


async def test_without_rights_the_home_is_unknown_and_a_copy_keeps_its_id() -> None:
    refusing: Any = Refusing(DatabaseError("permission denied"))
    assert await home_of(refusing) == ""
    with Told() as told:
        assert await identify(refusing, {ENTRY: "a.1"}, "2") == "a.1"
    assert told.of("outbox.copied") == [{"outbox": "a.1", "former": "a.1"}]
