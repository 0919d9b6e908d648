"""Reads the events that are written again, as copies for a single receiver. Only reads."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, select

from edgy_bus.database import Database, Row
from edgy_bus.outbox.table import outbox

_ID = outbox.c.id
_OLDEST = select(outbox.c.created).order_by(_ID).limit(1)


class Originals(NamedTuple):
    """Events of the outbox that were for every receiver.

    Attributes:
        model: the model with its service.
        signals: the names of their signals.
        subject: the key of their row; None for the events of all rows.
        below: the id that ends them; None for events to come as well.
    """

    model: str
    signals: tuple[str, ...]
    subject: str | None
    below: int | None


class OriginalStore:
    """The questions of a replay."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def kept_since(self) -> datetime | None:
        """Return when the oldest event of the outbox was written; None without events."""
        rows = (await self._database.run(_OLDEST)).rows
        return datetime.fromtimestamp(rows[0]["created"] / 1000, UTC) if rows else None

    async def newest(self) -> int:
        """Return the newest id; 0 without events."""
        rows = (await self._database.run(select(func.max(_ID).label("id")))).rows
        return rows[0]["id"] or 0

    async def count(self, originals: Originals, after: int) -> Mapping[str, int]:
        """Return how many events of each signal come after an id."""
        counting = select(outbox.c.signal, func.count().label("n")).group_by(outbox.c.signal)
        counting = counting.where(*_conditions(originals, after))
        return {row["signal"]: row["n"] for row in (await self._database.run(counting)).rows}

    async def read(self, originals: Originals, after: int, last: int, limit: int) -> list[Row]:
        """Return the first events between two ids, without the first id, in the order of ids."""
        reading = select(outbox).where(*_conditions(originals, after), last >= _ID)
        return list((await self._database.run(reading.order_by(_ID).limit(limit))).rows)


def _conditions(originals: Originals, after: int) -> list[ColumnElement[bool]]:
    conditions = [
        after < _ID,
        outbox.c.model == originals.model,
        outbox.c.signal.in_(originals.signals),
        # Copies and repeated rows were for one receiver. A copy must not be copied by its own
        # replay, which would never end.
        outbox.c.to.is_(None),
    ]
    if originals.subject is not None:
        conditions.append(outbox.c.subject == originals.subject)
    if originals.below is not None:
        conditions.append(originals.below > _ID)
    return conditions
