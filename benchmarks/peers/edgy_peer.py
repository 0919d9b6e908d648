"""The cost of `query.create` of the real Edgy, with our model and values; Edgy has no outbox.

edgy_peer.py publish --count 300 --database postgresql+asyncpg://localhost/test --name bench-edgy
"""

import argparse
from typing import Any

import edgy
import peer


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("publish",))
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--database", required=True)
    parser.add_argument("--name", default="bench_edgy")
    return parser.parse_args()


def make(url: str, table: str) -> tuple[Any, Any]:
    models = edgy.Registry(database=edgy.Database(url))

    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True, autoincrement=True)
        name: str = edgy.CharField(max_length=100)
        email: str = edgy.CharField(max_length=100)
        is_verified: bool = edgy.BooleanField(default=False)
        about: str = edgy.CharField(max_length=400)

        class Meta:
            registry = models
            tablename = table

    return models, User


async def main() -> None:
    asked = arguments()
    rows = peer.events(asked.count)
    for row in rows:
        del row["id"]
    models, user = make(asked.database, f"{asked.name}_users".replace("-", "_"))
    async with models:
        await models.create_all()
        try:
            await user.query.create(**rows[0])

            async def create() -> None:
                for row in rows:
                    await user.query.create(**row)

            rate = await peer.timed(create, asked.count)
        finally:
            await models.drop_all()
    peer.say(rate, "edgy", "sqlalchemy", "asyncpg")


peer.run(main())
