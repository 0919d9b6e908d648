"""A service with models and receivers that do nothing: the program of the measurements.

GOALS_MODELS models; GOALS_GROUPS groups, each with a receiver for every model. As a program, it
writes a row of every model, and publishes the events.
"""

import asyncio
import os
from typing import Any

import edgy_bus as edgy

bus = edgy.Bus(
    os.environ["GOALS_REDIS"], service="shop", prefix=os.environ["GOALS_PREFIX"], relay=False
)
registry = edgy.Registry(os.environ["GOALS_DATABASE"], bus=bus)
bus.on_start(registry.create_all)


class Row(edgy.Model):
    """A row with a text of any length."""

    id: int = edgy.BigIntegerField(primary_key=True)
    text: str = edgy.TextField()

    class Meta:
        registry = registry
        abstract = True


def _receiver() -> Any:
    async def read(sender: Any, instance: Any, **kwargs: object) -> None:
        pass

    return read


metaclass: Any = type(Row)
models = [
    metaclass(f"Row{number}", (Row,), {"__module__": __name__, "__qualname__": f"Row{number}"})
    for number in range(int(os.environ.get("GOALS_MODELS", "1")))
]
for group in range(int(os.environ.get("GOALS_GROUPS", "1"))):
    for model in models:
        edgy.post_save(model, group=f"group{group}", name=f"read{group}")(_receiver())


async def main() -> None:
    """Publish an event of every model, so that all streams are known."""
    async with bus:
        for one in models:
            await one.query.create(text="x")
        for relay in bus.relays():
            async with relay:
                await asyncio.sleep(2.0)


if __name__ == "__main__":
    asyncio.run(main())
