"""A bus with something to see on every page: the same at each time, but for the time itself."""

import math
import time
from dataclasses import replace

import redis.asyncio

from edgy_bus.brokers.base import MINUTES, Enlisted, Tally
from edgy_bus.brokers.base.relays import place_of
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.codec import dumps
from edgy_bus.events import Partition, partitions_of
from edgy_bus.testing.conformance.relays import card_of
from tests.support import bury, event, hold, publish

USERS, ORDERS = "accounts.User", "shop.Order"

WORKERS = {
    "mail": ("3f9a1c07be52", "a4410d9e6f83"),
    "search": ("0c77e2b15d3a",),
    "audit": (),
}
"""Group to its workers."""

LASTS = 600.0
"""Seconds for which workers and leases of the scene last."""


async def fill(broker: RedisBroker, url: str) -> None:
    """Fill a prefix of Redis with groups, their past, letters, held rows and relays."""
    await _letters(broker)
    for group, workers in WORKERS.items():
        await _group(broker, group, workers)
        await _past(broker, url, group)
    for owner, host in (("one", "accounts-0"), ("two", "accounts-1")):
        card = replace(card_of(owner, host), outbox="4f1c9a2e", version="0.5.0")
        await broker.list_relay(card, LASTS, 4000.0)
    assert await broker.acquire(place_of("accounts", "4f1c9a2e"), "relay", "one", LASTS)
    await broker.pause("search", 3600.0, "the index is being rebuilt (anna)")


async def _letters(broker: RedisBroker) -> None:
    users, orders = Partition(USERS, "0"), Partition(ORDERS, "1")
    await broker.declare(USERS, 4)
    await broker.declare(ORDERS, 4)
    refused = [event(str(41 + number), number) for number in range(5)]
    await bury(
        broker,
        *refused,
        partition=users,
        receiver="app.send_welcome",
        reason="SMTPRecipientsRefused",
    )
    await bury(
        broker,
        event("7", 9)._replace(model=ORDERS, source="shop"),
        partition=orders,
        receiver="app.send_receipt",
        reason="KeyError: 'iban'",
    )
    reason = "TimeoutError: the ledger did not answer within 5 s"
    await hold(broker, "1207", partition=orders, receiver="app.book", group="audit", reason=reason)
    await publish(broker, *(event(str(number), 1) for number in range(30)), partition=orders)
    for number in range(4):
        await _read(broker, Partition(USERS, str(number)), "search")


async def _read(broker: RedisBroker, partition: Partition, group: str) -> None:
    """Handle all events of a stream, as a worker does."""
    await publish(broker, event("1", 1), partition=partition)
    lease = await broker.acquire(partition, group, "worker", LASTS)
    assert lease is not None
    entries = (await broker.fetch(lease, 100, inherit=False)).entries
    await broker.settle(lease, [entry.id for entry in entries], ())
    await broker.release(lease)


async def _group(broker: RedisBroker, group: str, workers: tuple[str, ...]) -> None:
    now = time.time()
    names = {"mail": ("app.send_welcome", "app.send_receipt"), "search": ("app.index",)}
    receivers = names.get(group, ("app.book",))
    signals = (f"{USERS}.post_save", f"{ORDERS}.post_save")
    listed = [Enlisted(receiver, signals) for receiver in receivers]
    await broker.enlist(group, listed, LASTS, begins=True)
    for number, worker in enumerate(workers):
        calls = {name: [900, number, number, now + 20] for name in receivers}
        report = {"protocol": 3, "receivers": receivers, "at": now, "calls": calls}
        await broker.join(group, worker, LASTS, dumps(report))
    for model in (USERS, ORDERS):
        for number, partition in enumerate(partitions_of(model, 4)):
            if workers:
                began = int((now - 5000 + 300 * number) * 1000)
                owner = f"{workers[number % len(workers)]}.{began}"
                assert await broker.acquire(partition, group, owner, LASTS)


async def _past(broker: RedisBroker, url: str, group: str) -> None:
    """Write a day of tallies as workers would have: more by day, and errors after a release."""
    now = time.time()
    newest = int(now // 60)
    share = {"mail": 1.0, "search": 2.5, "audit": 0.4}[group]
    fields: dict[str, str] = {}
    for ago in range(MINUTES):
        wave = 1.2 + math.sin(ago / MINUTES * 2 * math.pi)
        ripple = 1 + 0.15 * math.sin(ago / 7)
        tally = Tally(int(90 * share * wave * ripple))
        if group == "mail" and 300 < ago < 390:
            tally = tally._replace(retried=int(20 * abs(math.sin(ago / 11))), dead=ago % 45 == 0)
        minute = newest - ago
        fields[str(minute % MINUTES)] = (
            f"{minute} {tally.handled} {tally.retried} {int(tally.dead)}"
        )
    began = {"mail": ((1000, "1.7.2"), (395, "1.8.0"), (300, "1.7.2"))}.get(
        group, ((700, "2.3.0"),)
    )
    lines = [f"{int((now - ago * 60) * 1000)} {version}" for ago, version in began]
    async with redis.asyncio.Redis.from_url(url) as client:
        key = broker.keys.tallies(group)
        await client.hset(key, mapping={**fields, "versions": "\n".join(lines)})
