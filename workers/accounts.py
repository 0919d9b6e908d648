"""The service `accounts`: users come, change and go, for EDGY_BUS_ACCOUNTS_SECONDS (0: until SIGTERM)."""

import asyncio
import os
import random
import signal
from pathlib import Path

import edgy_bus as edgy

database = edgy.Database(os.environ["EDGY_BUS_DATABASE_URL"])
bus = edgy.Bus(os.environ["EDGY_BUS_REDIS_URL"], service="accounts", relay=False)
registry = edgy.Registry(database=database, bus=bus)
bus.on_start(registry.create_all)


class User(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    name: str = edgy.CharField(max_length=100)
    email: str = edgy.EmailField()

    class Meta:
        registry = registry


async def work(stopping: asyncio.Event, health: Path | None) -> None:
    while not stopping.is_set():
        number = random.randrange(10**9)
        user = await User.query.create(name=f"User {number}", email=f"{number}@example.org")
        await user.update(name=f"{user.name} the second")
        if number % 5 == 0:
            await user.delete()
        if health is not None:
            health.touch()
        await asyncio.sleep(0.02)


async def main() -> None:
    stopping, file = asyncio.Event(), os.environ.get("EDGY_BUS_HEALTH_FILE")
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    seconds = float(os.environ.get("EDGY_BUS_ACCOUNTS_SECONDS", "20"))
    if seconds:
        loop.call_later(seconds, stopping.set)
    async with bus:
        await work(stopping, Path(file) if file else None)


if __name__ == "__main__":
    asyncio.run(main())
