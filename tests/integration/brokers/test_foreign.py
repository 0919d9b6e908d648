"""Whatever another program writes to a key of the bus, every call works, and the value is kept."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from edgy_bus.brokers.base import (
    START,
    HeldState,
    Lease,
    Protocol,
    StreamHead,
)
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.brokers.redis.keys import Key
from edgy_bus.errors import LeaseLost
from edgy_bus.testing.conformance.steps import PARTITION, ROW, acquire, append, letter_of, wires
from tests.support import Told

Write = Callable[[Redis, str], Any]

KEYS = {
    "models": lambda keys: keys.models(),
    "protocol": lambda keys: keys.protocol(),
    "events": lambda keys: keys.events(PARTITION),
    "size": lambda keys: keys.size(PARTITION),
    "epoch": lambda keys: keys.epoch(PARTITION),
    "lease": lambda keys: keys.lease(PARTITION, "mail"),
    "fence": lambda keys: keys.fence(PARTITION, "mail"),
    "last": lambda keys: keys.last_holder(PARTITION, "mail"),
    "notes": lambda keys: keys.notes(PARTITION, "mail"),
    "dead": lambda keys: keys.dead(PARTITION, "mail"),
    "held": lambda keys: keys.held(PARTITION, "mail"),
    "parked": lambda keys: keys.parked(PARTITION, "mail", ROW),
    "seen": lambda keys: keys.seen("mail"),
    "reports": lambda keys: keys.reports("mail"),
    "nudge": lambda keys: keys.nudge("mail"),
    "paused": lambda keys: keys.paused("mail"),
}
VALUES: dict[str, Write] = {
    "string": lambda client, key: client.set(key, b"\xff foreign"),
    "hash": lambda client, key: client.hset(key, b"\xff", b"\xfe foreign"),
    "list": lambda client, key: client.rpush(key, "foreign"),
    "set": lambda client, key: client.sadd(key, "foreign"),
    "zset": lambda client, key: client.zadd(key, {b"\xff": 5}),
    "stream": lambda client, key: client.xadd(key, {b"\xff": b"\xfe"}),
}

OVERWRITTEN = ("protocol", "lease", "fence", "last")
"""Keys that are written without a look at the value before."""


async def use(broker: RedisBroker) -> None:
    """Call every method that reads or writes a key, as services and workers do."""
    await broker.keep_protocol(Protocol(1, 1))
    assert await broker.declare("accounts.User", 8) == 8
    assert (await broker.declared())["accounts.User"] == 8
    members = await broker.join("mail", "w", 30, b"report")
    assert "w" in members.alive
    assert (await broker.members("mail")).reports["w"] == b"report"
    assert (await broker.pause("mail", 30, "note")).note == "note"
    assert await broker.resume("mail")
    state = await broker.inspect(PARTITION, StreamHead(), "epoch-1")
    head = state.head
    entries = await broker.publish(PARTITION, head, wires("a", "b", "c"))
    assert entries is not None
    head = StreamHead(head.epoch, entries[-1], "c")
    lease = await broker.acquire(PARTITION, "mail", "w", 30)
    assert lease is not None
    try:
        await consume(broker, lease)
    finally:
        await broker.release(lease)
    assert await broker.progress(PARTITION, head) is not None
    assert await broker.progress_of_all({PARTITION: head}) != [None]
    await broker.trim(PARTITION, head, head.entry, {})
    await broker.announce(PARTITION, wires("d"), 10_000)
    assert await broker.oldest_unfinished(PARTITION, "mail") is not None
    await broker.backlog(PARTITION)
    await broker.dead_letters(PARTITION, "mail")


async def consume(broker: RedisBroker, lease: Lease) -> None:
    await broker.renew(lease, 30)
    assert await broker.renew_all([lease], 30) == [True]
    inherited, after = True, START
    while inherited:
        fetched = await broker.fetch(lease, 10, inherit=True, after=after)
        inherited, after = fetched.inherited, fetched.position
    assert fetched.position
    a, b, c = fetched.entries[-3:]
    await broker.note(lease, {a.id: b"n"})
    await broker.bury(lease, letter_of(a))
    await broker.held(PARTITION, "mail")
    tail = (await broker.tails(PARTITION, "mail", [ROW])).get(ROW, START)
    tail = await broker.park(lease, ROW, letter_of(b), begin=True, after=tail) or START
    assert await broker.park(lease, ROW, letter_of(c), begin=False, after=tail)
    await broker.hold(lease, ROW, HeldState())
    assert (await broker.held(PARTITION, "mail"))[ROW] == HeldState()
    assert await broker.decide(PARTITION, "mail", ROW, skip=True)
    (first,) = await broker.parked(PARTITION, "mail", ROW)
    await broker.unpark(lease, ROW, first)
    await broker.settle(lease, [a.id, b.id, c.id])


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", KEYS)
async def test_a_value_of_another_type_stops_nothing_and_is_kept(
    name: str, kind: str, redis_url: str, prefix: str, redis_client: Redis
) -> None:
    broker = RedisBroker(redis_url, prefix)
    key: Key = KEYS[name](broker.keys)
    with Told() as told:
        await VALUES[kind](redis_client, key)
        await _until_it_is_used(broker)
        await redis_client.delete(key)
        await VALUES[kind](redis_client, key)
        await _until_it_is_used(broker)
    await broker.close()
    moved = told.of("broker.foreign_key")
    assert len(moved) == (0 if kind == key.kind or name in OVERWRITTEN else 2)
    for notice in moved:
        assert (notice["key"], notice["type"]) == (key, kind)
        assert (await redis_client.type(notice["moved"])).decode() == kind


async def _until_it_is_used(broker: RedisBroker) -> None:
    """Use the broker. A value of the library that was replaced may cost some tenures."""
    for _ in range(3):
        with suppress(LeaseLost):
            await use(broker)
            return
    await use(broker)


async def test_no_value_takes_the_place_of_a_value_that_was_moved_before(
    redis_url: str, prefix: str, redis_client: Redis
) -> None:
    broker = RedisBroker(redis_url, prefix)
    key = broker.keys.models()
    with Told() as told:
        for text in ("first", "second"):
            await redis_client.delete(key)
            await redis_client.set(key, text)
            assert await broker.declare("accounts.User", 8) == 8
    await broker.close()
    kept = [await redis_client.get(notice["moved"]) for notice in told.of("broker.foreign_key")]
    assert kept == [b"first", b"second"]


async def test_a_parked_event_stays_while_the_held_rows_are_of_another_type(
    redis_url: str, prefix: str, redis_client: Redis
) -> None:
    """A script that has removed the event would not count attempts of the next event anew."""
    broker = RedisBroker(redis_url, prefix)
    lease = await acquire(broker, "w")
    await append(broker, "a", "b")
    a, b = (await broker.fetch(lease, 10, inherit=False)).entries
    tail = await broker.park(lease, ROW, letter_of(a), begin=True, after=START)
    assert tail is not None
    await broker.park(lease, ROW, letter_of(b), begin=False, after=tail)
    (first,) = await broker.parked(PARTITION, "mail", ROW)
    held = broker.keys.held(PARTITION, "mail")
    await redis_client.delete(held)
    await redis_client.set(held, "foreign")
    assert await broker.unpark(lease, ROW, first)
    assert await broker.held(PARTITION, "mail") == {ROW: HeldState(retrying=True)}
    await broker.close()


@pytest.mark.parametrize(
    ("field", "number"),
    [("99999", 99_999), ("100000", 8), ("9" * 5_000, 8), ("08", 8), ("-8", 8), ("8 ", 8)],
)
async def test_a_number_of_partitions_is_declared_and_listed_or_neither(
    field: str, number: int, redis_url: str, prefix: str, redis_client: Redis
) -> None:
    broker = RedisBroker(redis_url, prefix)
    await redis_client.hset(broker.keys.models(), "accounts.User", field)
    is_known = "accounts.User" in await broker.declared()
    assert is_known == (number == 99_999)
    assert await broker.declare("accounts.User", 8) == number
    assert await broker.declared() == {"accounts.User": number}
    await broker.close()


async def test_looking_at_an_entry_leaves_foreign_values_alone(
    redis_url: str, prefix: str, redis_client: Redis
) -> None:
    broker = RedisBroker(redis_url, prefix)
    await append(broker, "a")
    await redis_client.xadd(broker.keys.events(PARTITION), {b"\xff": b"\xfe"})
    lease = await acquire(broker, "w")
    a, foreign = (await broker.fetch(lease, 10, inherit=False)).entries
    await redis_client.delete(broker.keys.notes(PARTITION, "mail"))
    await redis_client.set(broker.keys.notes(PARTITION, "mail"), "foreign")
    with Told() as told:
        [group] = (await broker.survey_entry(PARTITION, a.id)).groups
        assert (group.reader, group.notes) == (lease.holder, None)
        assert (await broker.survey_entry(PARTITION, foreign.id)).fields == {b"\xff": b"\xfe"}
        page = await broker.search(PARTITION, b"a")
        assert ([each.event_id for each in page.landmarks], page.looked_at) == (["a"], 2)
        assert (await broker.search(PARTITION, b"")).landmarks[1].header == b""
    assert told.names() == []
    await broker.close()
