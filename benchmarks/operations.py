"""What an operation on a model costs, against the same statement on the raw driver.

    python benchmarks/operations.py sqlite:////tmp/bench.sqlite
    python benchmarks/operations.py "postgresql://localhost/test?schema=bench"

Every contender does the same work in turn, a few hundred operations at a time, several rounds over; the figure is the median
of the rounds, and the ratios are those of one run, so that a noisy machine is noisy for all alike. The outbox is written, but not relayed.
"""

import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

import edgy_bus as edgy
from edgy_bus.signals import post_save

ROUNDS, OPERATIONS = 9, 300
Work = Callable[[int], Awaitable[Any]]


class Bench:
    """One database, a table for everybody, and the contenders."""

    def __init__(self, url: str) -> None:
        self.database = edgy.Database(url)
        self.plain = edgy.Registry(self.database)
        self.recorded = edgy.Registry(self.database, bus=edgy.Bus("memory://", service="bench", relay=False))
        self.heard = edgy.Registry(self.database, bus=edgy.Bus("memory://", service="bench", relay=False))
        self.Plain = _user("plain_users", self.plain)
        self.Recorded = _user("recorded_users", self.recorded)
        self.Heard = _user("heard_users", self.heard)

        @post_save(self.Heard, local=True)
        async def nothing(sender: Any, **kwargs: Any) -> None: ...

    async def contenders(self, session: Any) -> dict[str, dict[str, Work]]:
        raw = _raw(session.raw_connection, self.database.dialect.name)
        plain, recorded = await self.Plain.query.create(**_values(0)), await self.Recorded.query.create(**_values(0))
        insert = sa.insert(self.Plain.meta.table).returning(*self.Plain.meta.table.c)
        return {
            "insert": {
                "raw driver": raw.insert,
                "databases": lambda n: self.database.fetch_one(insert.values(**_values(n))),
                "create, local mode": lambda n: self.Plain.query.create(**_values(n)),
                "create, outbox": lambda n: self.Recorded.query.create(**_values(n)),
                "create, outbox and a local receiver": lambda n: self.Heard.query.create(**_values(n)),
            },
            "update": {
                "raw driver": raw.update,
                "update, local mode": lambda n: plain.update(name=f"user {n}"),
                "update, outbox": lambda n: recorded.update(name=f"user {n}"),
            },
        }


def _user(table: str, own: edgy.Registry) -> Any:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=100)
        email: str = edgy.CharField(max_length=100)
        is_verified: bool = edgy.BooleanField(default=False)

        class Meta:
            registry = own
            tablename = table

    return User


def _values(number: int) -> dict[str, Any]:
    return {"name": f"user {number}", "email": f"{number}@example.org", "is_verified": False}


class _Raw:
    """The driver alone, one statement and one commit for each operation."""

    def __init__(self, insert: Work, update: Work) -> None:
        self.insert, self.update = insert, update


def _raw(connection: Any, dialect: str) -> _Raw:
    columns = "id, name, email, is_verified"
    if dialect == "postgresql":
        into = f"INSERT INTO plain_users (name, email, is_verified) VALUES ($1, $2, $3) RETURNING {columns}"
        change = f"UPDATE plain_users SET name = $1 WHERE id = $2 RETURNING {columns}"
        return _Raw(
            lambda n: connection.fetchrow(into, *_values(n).values()),
            lambda n: connection.fetchrow(change, f"user {n}", 1),
        )
    into = f"INSERT INTO plain_users (name, email, is_verified) VALUES (?, ?, ?) RETURNING {columns}"
    change = f"UPDATE plain_users SET name = ? WHERE id = ? RETURNING {columns}"
    return _Raw(
        lambda n: connection.execute_fetchall(into, tuple(_values(n).values())),
        lambda n: connection.execute_fetchall(change, (f"user {n}", 1)),
    )


async def measure(contenders: dict[str, Work]) -> dict[str, float]:
    """Median microseconds for one operation."""
    numbers = itertools.count(1)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            start = time.perf_counter()
            for _ in range(OPERATIONS):
                await work(next(numbers))
            times[name].append((time.perf_counter() - start) / OPERATIONS * 1e6)
    return {name: statistics.median(one) for name, one in times.items()}


async def main(url: str) -> None:
    bench = Bench(url)
    async with bench.database:
        registries = (bench.plain, bench.recorded, bench.heard)
        for registry in registries:
            await registry.create_all()
        session = bench.database._backend.connection()  # not the one that this task's operations use
        await session.acquire()
        try:
            for what, contenders in (await bench.contenders(session)).items():
                found = await measure(contenders)
                table = Table("what", "µs", "times raw", title=f"{what}, {bench.database.dialect.name}")
                for name, micros in found.items():
                    table.add_row(name, f"{micros:,.0f}", f"{micros / found['raw driver']:.2f}")
                Console().print(table)
        finally:
            await session.release()
            for registry in registries:
                await registry.drop_all()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
