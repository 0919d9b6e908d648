"""Operations by hand: the raw driver on a connection of its own, a commit for each operation."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import aiosqlite
import orjson

from benchmarks.suite.place import connect

Values = dict[str, Any]

_COLUMNS = ("name", "email", "is_verified", "about")
_NAMES = ", ".join(_COLUMNS)
_ROW = f"id, {_NAMES}"

_INSERT = f"INSERT INTO plain ({_NAMES}) VALUES ($1, $2, $3, $4) RETURNING {_ROW}"
_UPDATE = f"UPDATE plain SET name = $1 WHERE id = $2 RETURNING {_ROW}"

_SQLITE_INSERT = f"INSERT INTO plain ({_NAMES}) VALUES (?, ?, ?, ?) RETURNING {_ROW}"
_SQLITE_UPDATE = f"UPDATE plain SET name = ? WHERE id = ? RETURNING {_ROW}"

# A hand-written outbox. The partial index serves the relay's look at unpublished events.
_OUTBOX = """
CREATE TABLE outbox_by_hand (
    id bigserial PRIMARY KEY,
    event_id uuid NOT NULL,
    signal text NOT NULL,
    row_id bigint NOT NULL,
    data text NOT NULL,
    created timestamptz NOT NULL DEFAULT now(),
    published boolean NOT NULL DEFAULT false
);
CREATE INDEX ON outbox_by_hand (id) WHERE NOT published
"""
_BULK_ROWS = f"""
INSERT INTO plain ({_NAMES})
SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[], $4::text[]) RETURNING {_ROW}
"""
_BULK_EVENTS = """
INSERT INTO outbox_by_hand (event_id, signal, row_id, data)
SELECT event_id, 'post_save', row_id, data
FROM unnest($1::uuid[], $2::bigint[], $3::text[]) AS event (event_id, row_id, data)
"""


@dataclass(frozen=True)
class Raw:
    """The operations of a raw driver."""

    insert: Callable[[Values], Awaitable[object]]
    update: Callable[[Values], Awaitable[object]]


async def raw_postgresql(stack: AsyncExitStack, url: str) -> Raw:
    connection = await connect(url)
    stack.push_async_callback(connection.close)
    return Raw(
        lambda row: connection.fetchrow(_INSERT, *row.values()),
        lambda row: connection.fetchrow(_UPDATE, row["name"], 1),
    )


async def raw_sqlite(stack: AsyncExitStack, url: str) -> Raw:
    file = await stack.enter_async_context(
        aiosqlite.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    )
    return Raw(
        lambda row: file.execute_fetchall(_SQLITE_INSERT, tuple(row.values())),
        lambda row: file.execute_fetchall(_SQLITE_UPDATE, (row["name"], 1)),
    )


async def bulk_postgresql(
    stack: AsyncExitStack, url: str
) -> Callable[[Sequence[Values]], Awaitable[object]]:
    """Return a function that writes rows and their outbox rows in a transaction.

    Two statements, each with an array for every column: rows with RETURNING, and their events.
    """
    connection = await connect(url)
    stack.push_async_callback(connection.close)
    await connection.execute(_OUTBOX)

    async def insert(rows: Sequence[Values]) -> list[int]:
        columns = [[row[name] for row in rows] for name in _COLUMNS]
        async with connection.transaction():
            records = await connection.fetch(_BULK_ROWS, *columns)
            keys = [record["id"] for record in records]
            data = [orjson.dumps(dict(record)).decode() for record in records]
            event_ids = [uuid.uuid4() for _ in records]
            await connection.execute(_BULK_EVENTS, event_ids, keys, data)
        return keys

    return insert
