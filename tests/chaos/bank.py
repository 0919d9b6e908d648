"""Define the programs of a chaos run, as a user writes them.

A service changes accounts, and two groups receive its events.
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from typing import Any

import edgy_bus as edgy
from edgy_bus.errors import EdgyBusError
from edgy_bus.settings import EventSettings, RelaySettings, WorkerSettings

ACCOUNTS, WRITERS = 12, 4
URL, PREFIX = os.environ["CHAOS_BROKER"], os.environ["CHAOS_PREFIX"]
DEFAULTS = bool(os.environ["CHAOS_DEFAULTS"])
RELAYING = RelaySettings(lease=1.5, poll=0.2, backoff=0.3, trim_every=0.5, keep=0)
WORKING = WorkerSettings(lease=1.5, block=0.2, backoff=0.3, grace=5.0, concurrency=16)

database = edgy.Database(os.environ["CHAOS_DATABASE"])
bus = edgy.Bus(
    URL,
    service="bank",
    prefix=PREFIX,
    events=EventSettings(partitions=int(os.environ["CHAOS_PARTITIONS"])),
    relaying=RelaySettings() if DEFAULTS else RELAYING,
)
registry = edgy.Registry(database, bus=bus)
bus.on_start(registry.create_all)


class Account(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    balance: int = edgy.IntegerField(default=0)

    class Meta:
        registry = registry


consumers_database = edgy.Database(os.environ["CHAOS_DATABASE"])
consumers_registry = edgy.Registry(consumers_database)
consumers = edgy.Bus(
    URL,
    service="consumers",
    prefix=PREFIX,
    working=WorkerSettings() if DEFAULTS else WORKING,
)
consumers.on_start(consumers_registry.create_all)


@consumers.on_start
async def connect() -> None:
    if not consumers_database.is_connected:
        await consumers_database.connect()


class Effect(edgy.Model):
    """Written by a receiver with an inbox."""

    id: int = edgy.BigIntegerField(primary_key=True)
    subject: str = edgy.CharField(max_length=40)
    sequence: int = edgy.BigIntegerField()
    event: str = edgy.CharField(max_length=40)
    process: int = edgy.IntegerField()
    at: float = edgy.FloatField()

    class Meta:
        registry = consumers_registry
        tablename = "chaos_effects"


class Heard(edgy.Model):
    """Written by a receiver without one, when it is called and when it is done."""

    id: int = edgy.BigIntegerField(primary_key=True)
    subject: str = edgy.CharField(max_length=40)
    sequence: int = edgy.BigIntegerField()
    event: str = edgy.CharField(max_length=40)
    process: int = edgy.IntegerField()
    at: float = edgy.FloatField()
    done: bool = edgy.BooleanField(default=False)

    class Meta:
        registry = consumers_registry
        tablename = "chaos_heard"


PATIENT = edgy.Retry(attempts=10_000, delay=0.05, ceiling=0.5)


def described(event: Any) -> dict[str, Any]:
    """What happened to which row, and who hears of it when."""
    told = {"subject": event.subject or "", "sequence": event.sequence, "event": event.id}
    return {**told, "process": os.getpid(), "at": time.time()}


async def write(sender: str, event: Any, **kwargs: Any) -> None:
    await Effect.query.create(**described(event))
    if random.random() < 0.05:
        raise RuntimeError("fails now and then")


async def hear(sender: str, event: Any, **kwargs: Any) -> None:
    await Heard.query.create(**described(event))
    await asyncio.sleep(random.random() * 0.02)
    if random.random() < 0.05:
        raise RuntimeError("fails now and then")
    await Heard.query.create(**described(event), done=True)


for name in ("post_save", "post_update", "post_delete"):
    consumers.receiver(
        "bank.Account", name, group="ledger", name="write", retry=PATIENT, inbox=consumers_database
    )(write)
    consumers.receiver("bank.Account", name, group="mail", name="hear", retry=PATIENT)(hear)


canary = edgy.Bus(
    URL,
    service="canary",
    prefix=PREFIX,
    working=WorkerSettings() if DEFAULTS else WORKING,
)
"""Another program of the same groups, which lacks their receivers."""


async def look(sender: str, **kwargs: Any) -> None:
    await asyncio.sleep(random.random() * 0.02)


for group in ("ledger", "mail"):
    canary.receiver("bank.Account", "post_update", group=group, name="look", start="now")(look)


class Undo(Exception):
    """A transaction that is not to be."""


async def change(ids: list[int]) -> None:
    """One operation, or several in one transaction, which now and then is rolled back."""
    kind = random.random()
    if kind < 0.1:
        await Account.query.filter(id__in=ids).update(balance=random.randrange(100))
    elif kind < 0.2:
        async with database.transaction():
            for each in await Account.query.filter(id__in=ids).order_by("id"):
                await each.update(balance=random.randrange(100))
            if random.random() < 0.3:
                raise Undo
    elif kind < 0.3:
        gone = await Account.query.get_or_none(pk=ids[0])
        if gone is not None:
            await gone.delete()
    else:
        one, _ = await Account.query.get_or_create(id=ids[0])
        await one.update(balance=random.randrange(100))


async def writer(stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        ids = sorted(random.sample(range(1, ACCOUNTS + 1), 2))
        with contextlib.suppress(Undo, EdgyBusError, OSError):
            await change(ids)
        await asyncio.sleep(random.random() * float(os.environ["CHAOS_PAUSE"]))


def tell_tasks() -> None:
    """What everything waits for, for a run that has to find out why a service does not end."""
    for task in asyncio.all_tasks():
        task.print_stack()


async def main() -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGUSR1, tell_tasks)
    async with bus:
        await asyncio.gather(*(writer(stopping) for _ in range(WRITERS)))


if __name__ == "__main__":
    asyncio.run(main())
