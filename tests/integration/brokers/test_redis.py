"""The broker on a real Redis: the conformance suite, and the failures that only Redis has."""

import asyncio
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from edgy_bus.brokers.base import MINUTES, StreamHead, Tally
from edgy_bus.brokers.base.setting_aside import MOVED
from edgy_bus.brokers.redis import RedisBroker, conversations
from edgy_bus.errors import BrokerError, BrokerUnavailable, ConfigurationError, LeaseLost
from edgy_bus.events import Partition
from edgy_bus.testing.conformance import topics
from edgy_bus.testing.conformance.setting_aside import ONE, OTHER, OWN, B, arrange
from edgy_bus.testing.conformance.steps import (
    PARTITION,
    ROW,
    acquire,
    append,
    fetch_ids,
    fetch_new,
    letter_of,
    park,
    park_behind,
    pass_on,
    wires,
)
from edgy_bus.testing.servers import Source, find_redis


@pytest.fixture(scope="module")
def own_redis():
    """A server of these tests alone: some of them fill it."""
    with find_redis((Source.PATH, Source.WHEEL)) as server:
        yield server


class TestRedisBroker(*topics(RedisBroker.capabilities)):
    @pytest.fixture
    def redis_url(self, own_redis):
        return own_redis.url

    @pytest.fixture
    async def fill(self, redis_client):
        async def fill(full):
            await redis_client.config_set("maxmemory", int(full))

        yield fill
        await fill(False)

    @pytest.fixture
    async def connect(self, redis_url, prefix):
        async with AsyncExitStack() as stack:

            async def connect():
                broker = RedisBroker(redis_url, prefix)
                stack.push_async_callback(broker.close)
                await broker.connect()
                return broker

            yield connect

    @pytest.fixture
    async def broker(self, connect):
        return await connect()

    async def test_a_deleted_stream_is_noticed_and_its_group_comes_back_at_the_start(
        self, broker, redis_client
    ):
        head = await append(broker, "a")
        lease = await acquire(broker, "w")
        assert await fetch_ids(broker, lease) == ["a"]
        await redis_client.delete(broker.keys.events(PARTITION))
        assert await broker.publish(PARTITION, head, []) is None
        await append(broker, "b")
        assert await fetch_ids(broker, lease) == ["b"]

    async def test_announcements_that_an_older_release_appended_are_counted_when_dropped(
        self, broker, redis_client
    ):
        """The size of the stream is not known then, and is measured."""
        events = wires(*(f"{number:02}" for number in range(50)))
        size = 2 + len(events[0].header) + len(events[0].data)
        await broker.announce(PARTITION, events, keep=50 * size)
        assert len(await fetch_ids(broker, await acquire(broker, "w"), count=4)) == 4
        for key in await redis_client.keys(f"{broker.keys.events(PARTITION).rpartition(':')[0]}*"):
            if await redis_client.type(key) == b"string":
                await redis_client.delete(key)
        # Nine of 51 entries stay: the name of the last is longer. Four of the others were read.
        assert await broker.announce(PARTITION, wires("new"), keep=10 * size) == 51 - 9 - 4

    async def test_a_kept_event_can_be_settled_in_a_group_that_is_gone(self, broker, redis_client):
        await append(broker, "a")
        lease = await acquire(broker, "w")
        (entry,) = await fetch_new(broker, lease)
        await redis_client.xgroup_destroy(broker.keys.events(PARTITION), "mail")
        await broker.settle(lease, [entry.id], [letter_of(entry).kept])
        assert await fetch_ids(broker, lease) == ["a"], "the group begins anew"

    async def test_an_own_group_that_is_deleted_while_it_is_made_is_made_again(
        self, broker, redis_client
    ):
        ids = [str(number) for number in range(MOVED + 50)]
        await append(broker, *ids)
        lease = await acquire(broker, "w1")
        await arrange(broker, lease)
        await fetch_new(broker, lease, len(ids))
        lease = await pass_on(broker, lease)
        first = await broker.arrange(lease, ONE, OTHER)
        assert first.more, "a page of several"
        await redis_client.xgroup_destroy(broker.keys.events(PARTITION), OWN)
        assert (await arrange(broker, lease, without=True)).aside == {B}
        ((survey,),) = [each.asides for each in await broker.survey([PARTITION])]
        assert survey.unfinished == len(ids)

    async def test_a_group_that_begins_anew_parks_every_event_anew(self, broker, redis_client):
        """Events of a row that are parked twice stand in their order both times."""
        await append(broker, "a", "b")
        old = await acquire(broker, "w")
        a, b = await fetch_new(broker, old)
        await park(broker, old, a, b)
        # Another receiver has not finished `b`, whose proof stays.
        await broker.settle(old, [a.id], [letter_of(a).kept])
        await redis_client.xgroup_destroy(broker.keys.events(PARTITION), "mail")
        new = await pass_on(broker, old)
        *_, last = await broker.parked(PARTITION, "mail", ROW, 10)
        a, b = await fetch_new(broker, new)
        behind_a = await park_behind(broker, new, a, after=last.id)
        await park_behind(broker, new, b, after=behind_a)
        parked = await broker.parked(PARTITION, "mail", ROW, 10)
        assert [each.letter.fields[b"id"] for each in parked] == [b"a", b"b", b"a", b"b"]

    async def test_a_refusal_says_whether_the_lease_or_the_data_is_lost(self, broker):
        await append(broker, "a")
        old = await acquire(broker, "w")
        (entry,) = await fetch_new(broker, old)
        letter = letter_of(entry)
        with pytest.raises(LeaseLost, match="lost recent data"):
            await broker.settle(old, [entry.id], [letter.kept])
        with pytest.raises(LeaseLost, match="lost recent data"):
            await broker.park(old, ROW, letter, begin=True, after=entry.id)
        new = await pass_on(broker, old)
        with pytest.raises(LeaseLost, match="lost recent data"):
            await broker.fetch(new, 10, inherit=False)
        with pytest.raises(LeaseLost, match="is lost"):
            await broker.settle(old, [entry.id])
        with pytest.raises(LeaseLost, match="is lost"):
            await broker.fetch(old, 10, inherit=False)

    async def test_consumers_of_former_tenures_are_removed(self, broker, redis_client):
        await append(broker, "a", "b")
        lease = await acquire(broker, "w")
        (entry, _) = await fetch_new(broker, lease)
        await broker.settle(lease, [entry.id])
        for _ in range(3):
            lease = await pass_on(broker, lease)
            await fetch_ids(broker, lease, inherit=True)
        assert await fetch_ids(broker, lease, inherit=True) == []
        consumers = await redis_client.xinfo_consumers(broker.keys.events(PARTITION), "mail")
        assert [consumer["name"].decode() for consumer in consumers] == [lease.holder]

    async def test_ids_rise_behind_a_forged_entry_with_a_huge_number(self, broker, redis_client):
        """Lua's numbers are exact up to 2^53 only."""
        await append(broker, "a")
        forged = f"{2**42}-{2**60}"
        await redis_client.xadd(broker.keys.events(PARTITION), {"id": "forged"}, id=forged)
        head = (await broker.inspect(PARTITION, StreamHead(), "unused")).head
        ids = await broker.publish(PARTITION, head, wires("b", "c", "d"))
        assert [str(entry) for entry in ids] == [f"{2**42}-{2**60 + n}" for n in (1, 2, 3)]

    async def test_scripts_that_the_server_forgot_are_loaded_again(self, broker, redis_client):
        await append(broker, "a")
        await redis_client.script_flush()
        assert (await broker.inspect(PARTITION, StreamHead(), "x")).newest is not None
        lease = await acquire(broker, "w")
        assert await broker.renew_all([lease] * 3, 30) == [True] * 3
        await redis_client.script_flush()
        assert await broker.renew_all([lease] * 3, 30) == [True] * 3
        assert await fetch_ids(broker, lease) == ["a"], (
            "no reply of the refused calls is left on a connection"
        )


async def test_a_lease_that_an_acl_forbids_costs_no_other_lease(own_redis, prefix):
    parts = urlsplit(own_redis.url)
    address = parts.netloc.rpartition("@")[2]
    url = parts._replace(netloc=f"renewing:secret@{address}").geturl()
    async with Redis.from_url(own_redis.url) as admin:
        rules = {"enabled": True, "passwords": ["+secret"], "commands": ["+@all"]}
        await admin.acl_setuser("renewing", **rules, keys=["*"])
        broker = RedisBroker(url, prefix)
        await broker.connect()
        leases = [
            await broker.acquire(Partition(PARTITION.model, str(number)), "mail", "w", 30)
            for number in range(4)
        ]
        await broker.release(leases[3])
        allowed = [broker.keys.lease(leases[number].partition, "mail") for number in (0, 2, 3)]
        await admin.acl_setuser("renewing", enabled=True, reset_keys=True, keys=allowed)
        for _ in range(2):
            first, forbidden, third, lost = await broker.renew_all(leases, 30)
            assert (first, third, lost) == (True, True, False)
            assert isinstance(forbidden, BrokerError)
            assert not isinstance(forbidden, BrokerUnavailable)
        await admin.acl_setuser("renewing", enabled=True, reset_keys=True, keys=["*"])
        assert await broker.renew_all(leases, 30) == [True, True, True, False]
        await broker.close()
        await admin.acl_deluser("renewing")


async def test_a_server_that_is_not_there_is_unavailable():
    broker = RedisBroker("redis://127.0.0.1:1", "t")
    with pytest.raises(BrokerUnavailable):
        await broker.connect()
    await broker.close()


def test_a_url_of_another_scheme_is_refused():
    with pytest.raises(ConfigurationError, match="Redis URL"):
        RedisBroker("http://localhost")


async def test_no_cancellation_is_lost_whenever_it_comes(redis_url: str, prefix: str) -> None:
    """A task that continues after a cancellation keeps a lease, or a shutdown, waiting for ever."""
    broker = RedisBroker(redis_url, prefix)
    await broker.members("mail")
    for steps in range(40):
        for _ in range(10):
            looking = asyncio.create_task(_look_for_ever(broker))
            for _ in range(steps):
                await asyncio.sleep(0)
            looking.cancel()
            done, _ = await asyncio.wait((looking,), timeout=5)
            assert done, f"the cancellation after {steps} steps was lost"
            assert looking.cancelled()
    await broker.close()


async def _look_for_ever(broker: RedisBroker) -> None:
    while True:
        await broker.members("mail")


async def test_a_server_that_hangs_is_unavailable(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(conversations, "TIMEOUT", 0.2)
    server = await asyncio.start_server(never_answers, "127.0.0.1", 0)
    async with server:
        broker = RedisBroker(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(BrokerUnavailable, match="TimeoutError"):
            await broker.connect()
        await broker.close()


async def test_workers_of_the_first_release_take_leases_in_between(
    redis_url: str, prefix: str, redis_client: Redis
) -> None:
    """Such a worker counts the fence up with INCR, and does not write who it is."""
    broker = RedisBroker(redis_url, prefix)
    first = await acquire(broker, "w1")
    await broker.release(first)
    assert await redis_client.incr(broker.keys.fence(PARTITION, "mail")) == first.token + 1
    third = await acquire(broker, "w3")
    await broker.release(third)
    fourth = await acquire(broker, "w4")
    assert [third.token, fourth.token] == [first.token + 2, first.token + 3]
    assert (third.former, fourth.former) == ("", "w3")
    await broker.close()


async def test_the_minutes_of_a_day_take_the_fields_of_the_day_before(
    redis_url: str, prefix: str, redis_client: Redis
) -> None:
    broker = RedisBroker(redis_url, prefix)
    key, now = broker.keys.tallies("mail"), (await broker.facts()).now
    # Also the next minute, in case this one ends. A foreign text stops nothing.
    for minute in (int(now // 60), int(now // 60) + 1):
        await redis_client.hset(key, str(minute % MINUTES), f"{minute - 2 * MINUTES} 9 9 9")
    await redis_client.hset(key, "foreign", "9")
    await redis_client.hset(key, "versions", "foreign\n1 1.0")
    await broker.tally("mail", Tally(1, 2, 3), "2.0")
    history = await broker.history("mail")
    assert [*history.minutes.values()] == [Tally(1, 2, 3)]
    assert [version for _, version in history.versions] == ["1.0", "2.0"]
    # A group that is gone leaves nothing for ever.
    assert 86_400 < await redis_client.ttl(key) < 100_000
    await broker.close()
