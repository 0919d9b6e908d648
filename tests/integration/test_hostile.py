"""Append arbitrary entries to a stream.

No worker ends, no later event waits, and the dead letters contain the entry byte for byte.
"""

import json
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest
from redis.asyncio import Redis

import edgy_bus as edgy
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.codec import pack
from edgy_bus.events import Partition
from edgy_bus.settings import WorkerSettings
from tests.support import event, eventually

PARTITION = Partition("accounts.User", "0")
Fields = Mapping[bytes, bytes]


def good(number: int) -> Fields:
    wire = pack(event(str(number), number))
    return {b"id": wire.id.encode(), b"head": wire.header, b"data": wire.data}


def with_head(**changes: Any) -> Fields:
    """A good entry whose head has other attributes; `...` takes one away."""
    fields = dict(good(1))
    head = json.loads(fields[b"head"]) | changes
    fields[b"head"] = json.dumps(
        {name: value for name, value in head.items() if value is not ...}
    ).encode()
    return fields


def with_deep(name: str) -> Fields:
    """A good entry with an attribute that is nested as deep as JSON may be."""
    head = good(1)[b"head"][:-1] + b',"%s":%s}' % (name.encode(), b"[" * 1_000 + b"]" * 1_000)
    return {**good(1), b"head": head}


def with_raw(name: bytes, value: bytes) -> Fields:
    return {**good(1), name: value}


def hostile() -> Iterator[Fields]:
    """By hand: what is malformed, foreign, of another version, too deep or of the wrong type."""
    yield {b"hello": b"world"}
    # Lua passes about 8,000 arguments to a command.
    yield {b"%d" % number: b"x" for number in range(5_000)}
    yield {**good(1), b"head": b"{", **{b"%d" % number: b"x" for number in range(5_000)}}
    yield {b"\xff": b"\xfe"}
    for name in (b"head", b"data"):
        yield {key: value for key, value in good(1).items() if key != name}
    for raw in (
        b"",
        b"{",
        b"null",
        b"[]",
        b"42",
        b'"text"',
        b"\x00",
        b"\xff\xfe\xfd",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"NaN",
        b'{"a":NaN}',
        b"{'a':1}",
        b'{"a":1}{"b":2}',
        b"\x1b[31mred\r\nGET / HTTP/1.1",
        b'"\\ud800"',
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x04\x95\x00.",
        b"<?xml version='1.0'?>",
        b"{" * 10,
    ):
        yield with_raw(b"head", raw)
        yield with_raw(b"data", raw)
    for name in ("specversion", "id", "source", "type", "time"):
        yield with_head(**{name: ...})
        yield with_head(**{name: 7})
        yield with_head(**{name: None})
        yield with_head(**{name: ["a"]})
    for name in ("subject", "sequence", "incarnation", "traceparent"):
        yield with_head(**{name: {"a": 1}})
    for name in ("specversion", "schemaversion", "type", "to"):
        yield with_head(**{name: "A" * 100_000})
        yield with_deep(name)
    for address in ("", "mail", 5, ["mail/r"], {"mail": "r"}):
        yield with_head(to=address)
    yield with_head(sequence="1")
    yield with_head(sequence=1.5)
    yield with_head(sequence=True)
    yield with_head(specversion="2.0")
    yield with_head(schemaversion=99)
    yield with_head(schemaversion="1")
    yield with_head(type="nothing")
    yield with_head(type="other.Model.post_save")
    yield with_head(type="accounts.Users.post_save")
    yield with_head(time="yesterday")


class Stream:
    """One partition of a service that nobody relays, and a worker on it."""

    def __init__(self, url: str, prefix: str, client: Redis) -> None:
        self.key = f"{prefix}:{{{PARTITION}}}:events"
        self.client = client
        self.bus = edgy.Bus(
            url,
            service="mail",
            prefix=prefix,
            working=WorkerSettings(lease=2.0, block=0.2, backoff=0.1, prefetch=20),
        )
        self.heard: list[str] = []

        @self.bus.receiver("accounts.User", "post_save", retry=edgy.Retry(attempts=1))
        async def hear(sender: Any, instance: Any, event: edgy.Event, **kwargs: Any) -> None:
            self.heard.append(event.id)

    @property
    def broker(self) -> RedisBroker:
        assert isinstance(self.bus.broker, RedisBroker)
        return self.bus.broker

    async def add(self, fields: Fields) -> None:
        given: dict[Any, Any] = dict(fields)
        await self.client.xadd(self.key, given)

    async def is_done(self) -> bool:
        return all(
            one.unfinished == 0 and one.unread == 0 for one in await self.broker.backlog(PARTITION)
        )

    async def letters(self) -> list[Fields]:
        return [
            letter.fields for letter in await self.broker.dead_letters(PARTITION, "mail", 10_000)
        ]


@pytest.fixture
async def stream(redis_url: str, prefix: str, redis_client: Redis) -> AsyncIterator[Stream]:
    one = Stream(redis_url, prefix, redis_client)
    await one.broker.declare("accounts.User", 1)
    yield one
    await one.broker.close()


async def test_every_hostile_entry_is_in_the_dead_letters_as_it_was(stream: Stream) -> None:
    bad = list(hostile())
    assert len(bad) >= 60
    expected = []
    for number, fields in enumerate(bad):
        await stream.add(fields)
        friend = good(number)
        expected.append(friend[b"id"].decode())
        await stream.add(friend)
    async with stream.bus, stream.bus.worker() as worker:
        await eventually(lambda: set(expected) <= set(stream.heard), "every good event is heard")
        await eventually(stream.is_done)
        assert worker.running
    letters = await stream.letters()
    missing = [fields for fields in bad if fields not in letters]
    assert missing == []
    assert len(letters) == len(bad)
    assert stream.heard == expected


async def test_entries_that_were_changed_at_random_stop_nothing(stream: Stream) -> None:
    draw = random.Random(1)
    sent = []
    for number in range(400):
        fields = dict(good(number))
        name = draw.choice((b"head", b"data"))
        raw = bytearray(fields[name])
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(raw))
            raw[at : at + draw.randint(0, 3)] = draw.randbytes(draw.randint(0, 3))
        fields[name] = bytes(raw)
        sent.append(fields)
        await stream.add(fields)
    last = good(1_000)
    await stream.add(last)
    async with stream.bus, stream.bus.worker() as worker:
        await eventually(lambda: last[b"id"].decode() in stream.heard)
        await eventually(stream.is_done)
        assert worker.running
    letters = await stream.letters()
    assert all(letter in sent for letter in letters), "letters are what was sent, byte for byte"
    assert len(letters) > 100
    assert len(letters) + len(stream.heard) <= len(sent) + 1
