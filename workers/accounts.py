"""Run the service `accounts`: create, change and delete users.

Ends after EDGY_BUS_ACCOUNTS_SECONDS (20 seconds by default; 0 runs until SIGTERM).
"""

import asyncio
import os
import random
import signal
from pathlib import Path

import edgy_bus as edgy

database = edgy.Database(os.environ["EDGY_BUS_DATABASE_URL"])
# relay=False, because workers/relay.py publishes the events of this service.
bus = edgy.Bus(os.environ["EDGY_BUS_REDIS_URL"], service="accounts", relay=False)
registry = edgy.Registry(database=database, bus=bus)
bus.on_start(registry.create_all)


class User(edgy.Model):
    """A user, with the fields that other services receive."""

    id: int = edgy.BigIntegerField(primary_key=True)
    name: str = edgy.CharField(max_length=100)
    email: str = edgy.EmailField()

    class Meta:
        registry = registry


class RefusedAddress(ValueError):
    """An address that no user may have."""


@edgy.pre_save(User)
async def check_address(sender: type[User], instance: User, **kwargs: object) -> None:
    """Normalise the address before the INSERT. What is raised here stops the operation."""
    instance.email = instance.email.lower()
    if instance.email.endswith("@trash.example"):
        raise RefusedAddress(f"{instance.email} is an address that nobody reads")


async def work(stopping: asyncio.Event, health: Path | None) -> None:
    """Write users until `stopping` is set, and touch the file `health` after each."""
    while not stopping.is_set():
        number = random.randrange(10**9)
        user = await User.query.create(name=f"User {number}", email=f"{number}@example.org")
        await user.update(name=f"{user.name} the second")
        if number % 5 == 0:
            await user.delete()
        # After a committed operation: a service that cannot reach its database must not look alive.
        if health is not None:
            health.touch()
        await asyncio.sleep(0.02)


async def main() -> None:
    """Start the bus, and work until the time is over or SIGTERM arrives."""
    stopping = asyncio.Event()
    health_file = os.environ.get("EDGY_BUS_HEALTH_FILE")
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    seconds = float(os.environ.get("EDGY_BUS_ACCOUNTS_SECONDS", "20"))
    if seconds:
        loop.call_later(seconds, stopping.set)
    async with bus:
        await work(stopping, Path(health_file) if health_file else None)


if __name__ == "__main__":
    asyncio.run(main())
