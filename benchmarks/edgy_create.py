"""What `query.create` of the real Edgy costs, in microseconds: the same model and values as in `operations.py`.

It needs an environment of its own (`pip install edgy asyncpg`), because Edgy brings other versions of what both use:

    .venv-edgy/bin/python benchmarks/edgy_create.py postgresql+asyncpg://localhost/test
"""

import asyncio
import statistics
import sys
import time
from typing import Any

import edgy

ROUNDS, OPERATIONS = 9, 300


def make(url: str) -> tuple[Any, Any]:
    models = edgy.Registry(database=edgy.Database(url))

    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True, autoincrement=True)
        name: str = edgy.CharField(max_length=100)
        email: str = edgy.CharField(max_length=100)
        is_verified: bool = edgy.BooleanField(default=False)

        class Meta:
            registry = models
            tablename = "edgy_bench_users"

    return models, User


async def main(url: str) -> None:
    models, user = make(url)
    async with models:
        await models.create_all()
        try:
            times = []
            for _ in range(ROUNDS):
                start = time.perf_counter()
                for n in range(OPERATIONS):
                    await user.query.create(name=f"user {n}", email=f"{n}@example.org", is_verified=False)
                times.append((time.perf_counter() - start) / OPERATIONS * 1e6)
        finally:
            await models.drop_all()
    sys.stdout.write(f"{statistics.median(times):.0f} microseconds for one query.create\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
