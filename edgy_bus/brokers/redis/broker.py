"""The broker on Redis Streams. Every step that must be one step is one Lua script of this folder."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from edgy_bus import telemetry
from edgy_bus.brokers.base import (
    PAGE,
    Backlog,
    Bell,
    Broker,
    DeadLetter,
    Entry,
    EntryId,
    Fetched,
    HeldState,
    Kept,
    Landmark,
    Lease,
    Members,
    Parked,
    Protocol,
    RowKey,
    StreamHead,
    StreamState,
)
from edgy_bus.brokers.redis.connection import TIMEOUT, Scripts, Turns, asking, make_client
from edgy_bus.brokers.redis.keys import Keys
from edgy_bus.codec import Wire
from edgy_bus.errors import BrokerError, BrokerUnavailable, LeaseLost
from edgy_bus.events import Partition, check_name
from edgy_bus.telemetry import catalogue

_ERASING = 60.0


class RedisBroker(Broker):
    """Redis 6.2 or newer, or Valkey, at `url`; every key begins with `prefix`."""

    def __init__(self, url: str, prefix: str = "edgy") -> None:
        self.keys = Keys(check_name(prefix, "the prefix"))
        self._url = url
        self._client = make_client(url)
        self._turns = Turns()
        self._scripts = Scripts(lambda: self._client, self._turns)

    async def connect(self) -> None:
        async with self._turns.asking():
            await self._client.ping()
        try:
            async with self._turns.asking():
                policy = (await self._client.config_get("maxmemory-policy")).get(
                    "maxmemory-policy", "noeviction"
                )
        except BrokerUnavailable:
            raise
        except BrokerError:
            return  # hosted servers forbid the question
        if not policy.startswith(("noeviction", "volatile")):
            telemetry.emit(catalogue.BrokerEvicts(policy=policy))

    async def close(self) -> None:
        await self._client.aclose()

    # Streams

    async def keep_protocol(self, protocol: Protocol) -> Protocol:
        answer = await self._scripts.call("protocol", (self.keys.protocol(),), protocol)
        return Protocol(*map(int, answer))

    async def declare(self, model: str, partitions: int) -> int:
        async with self._turns.asking():
            await self._client.hsetnx(self.keys.catalogue(), model, str(partitions))
            return int(await self._client.hget(self.keys.catalogue(), model) or partitions)

    async def declared(self) -> Mapping[str, int]:
        async with self._turns.asking():
            found = await self._client.hgetall(self.keys.catalogue())
        return {model.decode(): int(count) for model, count in found.items()}

    # Publishing

    async def publish(
        self, partition: Partition, head: StreamHead, batch: Sequence[Wire]
    ) -> list[EntryId] | None:
        arguments: list[Any] = [*_known(head)]
        for wire in batch:
            arguments += wire
        ids = await self._scripts.call("publish", self._stream(partition), arguments)
        if ids is None:
            return None
        first = EntryId.parse(ids[0])
        if len(ids) < len(batch):
            return [EntryId(first.ms, seq) for seq in range(first.seq, first.seq + len(batch))]
        return [EntryId.parse(one) for one in ids]

    async def inspect(
        self, partition: Partition, head: StreamHead, fresh_epoch: str, count: int = PAGE
    ) -> StreamState:
        epoch, newest, behind = await self._scripts.call(
            "inspect", self._stream(partition), (*_known(head), fresh_epoch, count)
        )
        return StreamState(
            epoch.decode(),
            _landmark(newest) if newest else None,
            [_landmark(raw) for raw in behind],
        )

    async def landmarks(
        self, partition: Partition, newest: StreamHead, after: EntryId, count: int = PAGE
    ) -> Sequence[Landmark] | None:
        found = await self._scripts.call(
            "landmarks", self._stream(partition), (*_known(newest), str(after), count)
        )
        return None if found is None else [_landmark(raw) for raw in found]

    async def announce(self, partition: Partition, batch: Sequence[Wire], keep: int) -> None:
        arguments: list[Any] = [keep]
        for wire in batch:
            arguments += wire
        await self._scripts.call("announce", (self.keys.events(partition),), arguments)

    async def progress(self, partition: Partition, head: StreamHead) -> Mapping[str, EntryId]:
        found = await self._scripts.call("progress", self._stream(partition), _known(head))
        return {
            name.decode(): EntryId.parse(entry) if unfinished else EntryId.parse(entry).next
            for name, entry, unfinished in zip(found[::3], found[1::3], found[2::3], strict=True)
        }

    async def trim(self, partition: Partition, head: StreamHead, below: EntryId) -> int:
        return int(
            await self._scripts.call("trim", self._stream(partition), (*_known(head), str(below)))
        )

    # Leases

    async def acquire(
        self, partition: Partition, role: str, owner: str, ttl: float
    ) -> Lease | None:
        keys = (
            self.keys.lease(partition, role),
            self.keys.fence(partition, role),
            self.keys.epoch(partition),
        )
        answer = await self._scripts.call(
            "acquire", keys, (owner, _milliseconds(ttl), secrets.token_hex(8))
        )
        return (
            None
            if answer is None
            else Lease(partition, role, owner, int(answer[0]), answer[1].decode())
        )

    async def renew(self, lease: Lease, ttl: float) -> bool:
        keys = (self.keys.lease(lease.partition, lease.role),)
        return bool(await self._scripts.call("renew", keys, (lease.holder, _milliseconds(ttl))))

    async def renew_all(
        self, leases: Sequence[Lease], ttl: float
    ) -> Sequence[bool | BaseException]:
        calls = [
            ((self.keys.lease(one.partition, one.role),), (one.holder, _milliseconds(ttl)))
            for one in leases
        ]
        return [bool(answer) for answer in await self._scripts.call_all("renew", calls)]

    async def release(self, lease: Lease) -> None:
        await self._scripts.call(
            "release", (self.keys.lease(lease.partition, lease.role),), (lease.holder,)
        )

    # Consuming

    async def fetch(self, lease: Lease, count: int, *, inherit: bool) -> Fetched:
        keys = (self.keys.events(lease.partition), *self._owned(lease))
        reply = await self._scripts.call(
            "fetch", keys, (lease.role, *_held(lease), count, int(inherit))
        )
        if reply is None:
            raise LeaseLost(f"{lease.role} holds {lease.partition} no longer as {lease.holder}")
        rows, inherited, position, notes, missing, deliveries = reply
        if inherited:
            entries = [
                Entry(EntryId.parse(entry), _fields(fields), note or None, int(count))
                for (entry, fields), note, count in zip(rows, notes, deliveries, strict=True)
            ]
        else:
            # What `Entry(…)` does, at a third of the price: this is done for every event.
            new, parse = tuple.__new__, EntryId.parse
            entries = [
                new(Entry, (parse(entry), _fields(fields), None, 1)) for entry, fields in rows
            ]
        return Fetched(
            entries,
            bool(inherited),
            EntryId.parse(position),
            [EntryId.parse(one) for one in missing],
        )

    async def settle(
        self, lease: Lease, entries: Sequence[EntryId], kept: Sequence[Kept] = ()
    ) -> None:
        keys = (self.keys.events(lease.partition), *self._owned(lease))
        arguments: list[Any] = [lease.role, *_held(lease), len(kept)]
        for one in kept:
            arguments += (str(one.entry), *_proof(one))
        self._require(
            await self._scripts.call(
                "settle", keys, (*arguments, *[f"{ms}-{seq}" for ms, seq in entries])
            ),
            lease,
        )

    async def note(
        self, lease: Lease, notes: Mapping[EntryId, bytes], kept: Sequence[Kept] = ()
    ) -> None:
        arguments: list[Any] = [*_held(lease), *_proofs(kept)]
        for entry, note in notes.items():
            arguments += (str(entry), note)
        self._require(await self._scripts.call("note", self._owned(lease), arguments), lease)

    async def bury(
        self, lease: Lease, letter: DeadLetter, notes: bytes, kept: Sequence[Kept] = ()
    ) -> None:
        keys = (*self._owned(lease), self.keys.dead(lease.partition, lease.role))
        arguments = [
            *_held(lease),
            *_proofs(kept),
            *_proof(letter.kept),
            str(letter.entry),
            notes,
            *_flat(letter),
        ]
        self._require(await self._scripts.call("bury", keys, arguments), lease)

    async def dead_letters(
        self, partition: Partition, group: str, count: int = 100
    ) -> list[DeadLetter]:
        async with self._turns.asking():
            rows = await self._client.xrange(self.keys.dead(partition, group), count=count)
        return [_letter(fields) for _, fields in rows]

    # Held rows

    async def park(
        self,
        lease: Lease,
        row: RowKey,
        letter: DeadLetter,
        notes: bytes,
        kept: Sequence[Kept] = (),
        *,
        begin: bool,
        after: EntryId,
    ) -> EntryId | None:
        keys = (*self._owned(lease), *self._row(lease.partition, lease.role, row))
        about = [
            *_proofs(kept),
            *_proof(letter.kept),
            str(letter.entry),
            notes,
            str(row),
            int(begin),
            str(after),
        ]
        answer = await self._scripts.call("park", keys, [*_held(lease), *about, *_flat(letter)])
        self._require(answer, lease)
        if answer == 1:
            raise LeaseLost(
                f"{lease.partition} was rolled back while {lease.role} held it as {lease.holder}"
            )
        return None if answer == 2 else EntryId.parse(answer)

    async def tails(
        self, partition: Partition, group: str, rows: Sequence[RowKey]
    ) -> Mapping[RowKey, EntryId]:
        if not rows:
            return {}
        async with self._turns.asking():
            pipeline = self._client.pipeline(transaction=False)
            for row in rows:
                pipeline.xrevrange(self.keys.parked(partition, group, row), count=1)
            found = await pipeline.execute()
        return {
            row: EntryId.parse(last[0][0]) for row, last in zip(rows, found, strict=True) if last
        }

    async def held(self, partition: Partition, group: str) -> Mapping[RowKey, HeldState]:
        async with self._turns.asking():
            found = await self._client.hgetall(self.keys.held(partition, group))
        return {
            RowKey.parse(row.decode()): HeldState.parse(state.decode())
            for row, state in found.items()
        }

    async def parked(
        self, partition: Partition, group: str, row: RowKey, count: int = 1
    ) -> list[Parked]:
        async with self._turns.asking():
            rows = await self._client.xrange(self.keys.parked(partition, group, row), count=count)
        return [Parked(EntryId.parse(entry), _letter(fields)) for entry, fields in rows]

    async def hold(self, lease: Lease, row: RowKey, state: HeldState) -> None:
        await self._unpark(lease, row, str(state))

    async def unpark(self, lease: Lease, row: RowKey, first: Parked) -> bool:
        return await self._unpark(lease, row, "", str(first.id), first.event_id) > 1

    async def _unpark(self, lease: Lease, row: RowKey, state: str, *first: str | bytes) -> int:
        partition, group = lease.partition, lease.role
        keys = (
            self.keys.lease(partition, group),
            self.keys.epoch(partition),
            *self._row(partition, group, row),
        )
        answer = await self._scripts.call("unpark", keys, (*_held(lease), str(row), state, *first))
        self._require(answer, lease)
        return int(answer)

    async def decide(self, partition: Partition, group: str, row: RowKey, *, skip: bool) -> bool:
        keys = (*self._row(partition, group, row), self.keys.dead(partition, group))
        return bool(await self._scripts.call("decide", keys, (str(row), int(skip))))

    def _row(self, partition: Partition, group: str, row: RowKey) -> tuple[str, str]:
        return self.keys.held(partition, group), self.keys.parked(partition, group, row)

    def bell(self) -> "RedisBell":
        return RedisBell(self._url, self.keys, self._client)

    # Groups

    async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
        return await self._members(group, worker, _milliseconds(ttl), report)

    async def leave(self, group: str, worker: str) -> None:
        await self._members(group, worker, 0, b"")

    async def members(self, group: str) -> Members:
        return await self._members(group, "", 0, b"")

    async def backlog(self, partition: Partition) -> list[Backlog]:
        key = self.keys.events(partition)
        async with self._turns.asking():
            if not await self._client.exists(key):
                return []
            groups = await self._client.xinfo_groups(key)
            found = []
            for row in groups:
                name = row["name"].decode()
                dead = await self._client.xlen(self.keys.dead(partition, name))
                lag = row.get("lag")
                if lag is None:
                    lag = await self._count_after(key, row["last-delivered-id"].decode())
                found.append(Backlog(name, int(row["pending"]), lag, int(dead)))
        return found

    async def forget(self, partition: Partition, group: str) -> None:
        async with self._turns.asking():
            if await self._client.exists(self.keys.events(partition)):
                await self._client.xgroup_destroy(self.keys.events(partition), group)
            await self._client.unlink(self.keys.notes(partition, group))

    async def erase(self) -> None:
        async with self._turns.asking(_ERASING):
            async for key in self._client.scan_iter(match=f"{self.keys.prefix}:*", count=1000):
                await self._client.unlink(key)

    async def _count_after(self, key: str, position: str) -> int:
        """Servers before 7.0 do not tell a group's lag, newer ones not always."""
        return len(await self._client.xrange(key, min=f"({position}"))

    async def _members(self, group: str, worker: str, ttl: int, report: bytes) -> Members:
        keys = (self.keys.seen(group), self.keys.reports(group))
        alive, reports = await self._scripts.call("join", keys, (worker, ttl, report))
        pairs = dict(zip(reports[::2], reports[1::2], strict=True))
        return Members(
            [name.decode() for name in alive], {name.decode(): one for name, one in pairs.items()}
        )

    def _stream(self, partition: Partition) -> tuple[str, str]:
        return self.keys.events(partition), self.keys.epoch(partition)

    def _owned(self, lease: Lease) -> tuple[str, str, str]:
        partition = lease.partition
        return (
            self.keys.lease(partition, lease.role),
            self.keys.epoch(partition),
            self.keys.notes(partition, lease.role),
        )

    @staticmethod
    def _require(answer: Any, lease: Lease) -> None:
        if not answer:
            raise LeaseLost(f"{lease.role} holds {lease.partition} no longer as {lease.holder}")


class RedisBell(Bell):
    """A plain XREAD BLOCK on a connection of its own. It takes nothing, so a cut or cancelled wait loses nothing."""

    def __init__(self, url: str, keys: Keys, commands: Any) -> None:
        self._url = url
        self._keys = keys
        self._commands = commands
        self._reader: Any = None
        self._number: int | None = None

    async def wait(self, positions: Mapping[Partition, EntryId], timeout: float) -> set[Partition]:
        streams = {self._keys.events(partition).encode(): partition for partition in positions}
        arguments = [str(position) for position in positions.values()]
        try:
            async with asking(timeout + TIMEOUT):
                reader = await self._open()
                reply = await reader.execute_command(
                    "XREAD",
                    "COUNT",
                    1,
                    "BLOCK",
                    max(1, int(timeout * 1000)),
                    "STREAMS",
                    *streams,
                    *arguments,
                )
        except (BrokerError, asyncio.CancelledError):
            await self.close()
            raise
        names = reply.keys() if isinstance(reply, dict) else [row[0] for row in reply or ()]
        return {streams[name] for name in names}

    async def interrupt(self) -> None:
        if self._number is not None:
            async with asking():
                await self._commands.execute_command("CLIENT UNBLOCK", self._number)

    async def close(self) -> None:
        reader, self._reader, self._number = self._reader, None, None
        if reader is not None:
            await reader.aclose()

    async def _open(self) -> Any:
        if self._reader is None:
            self._reader = make_client(self._url, single=True)
            self._number = int(await self._reader.execute_command("CLIENT ID"))
        return self._reader


def _known(head: StreamHead) -> tuple[str, str, bytes]:
    return head.epoch, str(head.entry), head.event_id.encode("latin-1", "replace")


def _held(lease: Lease) -> tuple[str, str]:
    return lease.holder, lease.epoch


def _proof(kept: Kept) -> tuple[str, bytes]:
    """The field among the notes that says so, and its value."""
    return f"{kept.entry} {kept.receiver}", kept.event_id


def _proofs(kept: Sequence[Kept]) -> list[Any]:
    """How many, and all of them."""
    return [len(kept), *(part for one in kept for part in _proof(one))]


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _fields(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    if len(flat) == 6:  # nearly every entry; the general way costs three times as much
        return {flat[0]: flat[1], flat[2]: flat[3], flat[4]: flat[5]}
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _landmark(raw: Sequence[bytes]) -> Landmark:
    return Landmark(EntryId.parse(raw[0]), raw[1].decode("latin-1"), raw[2])


def _flat(letter: DeadLetter) -> list[Any]:
    flat: list[Any] = ["entry", str(letter.entry), "receiver", letter.receiver]
    flat += ("reason", letter.reason.encode("utf-8", "replace"), "attempts", letter.attempts)
    for name, value in letter.fields.items():
        flat += (b"event." + name, value)
    return flat


def _letter(fields: Mapping[bytes, bytes]) -> DeadLetter:
    event = {name[6:]: value for name, value in fields.items() if name.startswith(b"event.")}
    return DeadLetter(
        entry=EntryId.parse(fields.get(b"entry", b"0-0")),
        receiver=fields.get(b"receiver", b"").decode(),
        reason=fields.get(b"reason", b"").decode("utf-8", "replace"),
        attempts=int(fields.get(b"attempts", b"0")),
        fields=event,
    )
