"""PostgreSQL makes the data of an event smaller as Python does."""

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import Text, literal, select

from edgy_bus.codec import dumps, loads
from edgy_bus.database import Database
from edgy_bus.outbox.smaller_data import DELETION, select_smaller_data, smaller_data


@pytest.mark.parametrize(
    "row",
    [
        {f"field {number}": "x" * 12 for number in range(45)},
        {"id": 1, "text": "x" * 2_000, "more": None},
        {f"a rather long name of a field, number {number:04}": 1 for number in range(19)},
    ],
    ids=["every field is large", "one is", "none is"],
)
async def test_a_deleted_row_over_the_limit(postgres_url: str, row: Mapping[str, Any]) -> None:
    data = {"instance": row, "is_update": False}
    [expected] = smaller_data(data, DELETION, 1_000)
    event = select(literal(dumps(data).decode(), Text).label("data")).cte("event")
    made = select_smaller_data(event.c.data, 1_000, len(row), is_update=False)
    async with Database(postgres_url) as database:
        [answer] = (await database.run(select(made.scalar_subquery().label("data")))).rows
    found = loads(answer["data"])
    assert {**found, "omitted": sorted(found["omitted"])} == {
        **expected,
        "omitted": sorted(expected["omitted"]),
    }
