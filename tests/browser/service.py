"""A service with a database, whose dashboard shows outboxes, replays and backfills."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import edgy_bus as edgy
from edgy_bus.operations.unfinished import BACKFILL, REPLAY, Unfinished, name_of, text_of
from edgy_bus.outbox.table import meta

DATABASE, PREFIX = "PICTURES_DATABASE", "PICTURES_PREFIX"
"""The environment of the dashboard's process."""


@dataclass(frozen=True)
class Service:
    """A bus, its registry and its database."""

    bus: edgy.Bus
    registry: edgy.Registry
    database: edgy.Database
    user: Any


def make_service(database_url: str, redis_url: str, prefix: str) -> Service:
    database = edgy.Database(database_url)
    bus = edgy.Bus(redis_url, service="accounts", prefix=prefix, relay=False)
    registry = accounts = edgy.Registry(database, bus=bus)

    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=100)

        class Meta:
            registry = accounts

    return Service(bus, registry, database, User)


def create_bus() -> edgy.Bus:
    """Return the bus of the dashboard."""
    return make_service(*(os.environ[name] for name in (DATABASE, "EDGY_BUS_BROKER", PREFIX))).bus


async def fill(service: Service) -> None:
    """Write events that wait, a backfill that runs and a replay that stands."""
    now = datetime.now(UTC)
    async with service.bus:
        await service.registry.create_all()
        for number in range(3):
            await service.user.query.create(name=f"user {number}")
        for state in (
            _state(412_000, 1_250_000, "search/app.index", now - timedelta(minutes=14), now),
            _state(
                5_100, 18_400, "mail", now - timedelta(hours=2), now - timedelta(hours=1), REPLAY
            ),
        ):
            entry = meta.insert().values(name=name_of(state), value=text_of(state))
            await service.database.run(entry)


def _state(
    done: int, total: int, to: str, begun: datetime, moved: datetime, kind: Any = BACKFILL
) -> Unfinished:
    times = (each.isoformat(timespec="seconds") for each in (begun, moved))
    where = () if kind == BACKFILL else ("since=2026-11-28T10:00:00+00:00",)
    return Unfinished("accounts.User", to, where, total, done, "1", "9", *times, "anna", kind)
