"""A model of Redis that fails as Redis does, and the way to it, which fails as networks do.

The model is `MemoryBroker`; a test holds it against a real Redis, call by call. `Tap` sees every append and every letter, for the checker.
"""

import asyncio
import copy
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, cast

from edgy_bus.brokers.base import START, Bell, Broker, DeadLetter, EntryId, Lease, RowKey
from edgy_bus.brokers.memory import MemoryBroker, _Group, _Stream
from edgy_bus.codec import Wire
from edgy_bus.errors import BrokerError, BrokerUnavailable
from edgy_bus.events import Partition
from tests.simulation.loop import Process, VirtualLoop

GROWING = (
    "publish",
    "announce",
    "note",
    "bury",
    "park",
    "hold",
    "decide",
    "acquire",
    "inspect",
    "declare",
    "join",
)
"""Calls that a full Redis refuses."""

State = tuple[dict[Partition, _Stream], dict[str, int]]


class Redis(MemoryBroker):
    """The server: one for all processes."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(lambda: 1_000_000.0 + now() + self.clock_offset)
        self._now = now
        self.clock_offset = 0.0
        self.away = False
        self.full = False
        self.appended: dict[Partition, list[str]] = defaultdict(list)
        """Event ids of each stream, as far as they have not been lost again."""
        self.repeated: list[str] = []
        """Events that were appended though the stream had them."""
        self.letters: set[tuple[str, str]] = set()
        """Receiver and event id of every letter that ever was in the dead letters."""
        self._were_parked: set[str] = set()
        """Events that were parked at some loss: they may be confirmed to the publisher, and then nobody else has them."""
        self.lost_parked: set[str] = set()
        """Those of them that a loss took while they were parked, or unfinished once more, and that have not come back."""
        self.returned_parked: set[str] = set()
        """Those of them that a copy brought back, when later ones may have been heard."""
        self.lost_at = -1e9
        """When something was last lost, leases perhaps."""

    async def _append(self, stream: _Stream, batch: Sequence[Wire]) -> list[EntryId]:
        partition = next(partition for partition, one in self._streams.items() if one is stream)
        for wire in batch:
            if wire.id in self.appended[partition]:
                self.repeated.append(wire.id)
            self.appended[partition].append(wire.id)
        return await super()._append(stream, batch)

    async def bury(self, lease: Lease, letter: DeadLetter, *what: Any) -> None:
        await super().bury(lease, letter, *what)
        self.letters.add((letter.receiver, letter.fields[b"id"].decode()))

    async def decide(self, partition: Partition, group: str, row: RowKey, *, skip: bool) -> bool:
        first = await self.parked(partition, group, row)
        decided = await super().decide(partition, group, row, skip=skip)
        if decided and skip:
            self.letters.add((row.receiver, first[0].letter.fields[b"id"].decode()))
        return decided

    # What happens to servers

    def image(self) -> State:
        return copy.deepcopy((dict(self._streams), dict(self._models)))

    def restore(self, image: State) -> None:
        """A replica that had not received everything is the master now."""
        streams, models = copy.deepcopy(image)
        at_risk = self._at_risk()
        self._streams.clear()
        self._streams.update(streams)
        self._models = models
        self._recount(at_risk)

    def lose_everything(self) -> None:
        at_risk = self._at_risk()
        self._streams.clear()
        self._models.clear()
        self._workers.clear()
        self._recount(at_risk)

    def _parked(self) -> set[str]:
        groups = [group for stream in self._streams.values() for group in stream.groups.values()]
        rows = [row for group in groups for row in group.parked.values()]
        return {one.letter.fields[b"id"].decode() for row in rows for one in row}

    def _at_risk(self) -> set[str]:
        """Events that a loss may take for good. One that was finished meanwhile, rightly or not, is not among them."""
        parked = self._parked()
        self._were_parked |= parked
        return parked | (self._were_parked & self._unfinished())

    def _unfinished(self) -> set[str]:
        """Events that the group that holds rows has not finished."""
        found = set()
        for stream in self._streams.values():
            group = stream.groups.get("mail", _Group())
            left = [
                entry
                for entry in stream.entries
                if entry > group.position or entry in group.pending
            ]
            found |= {stream.entries[entry][b"id"].decode() for entry in left}
        return found

    def delete_stream(self, partition: Partition) -> None:
        """DEL of the stream's key, and its groups with it; other keys stay."""
        at_risk = self._at_risk()
        stream = self._streams[partition]
        stream.entries.clear()
        stream.last = START
        for name in stream.groups:
            self.destroy_group(partition, name)
        self._recount(at_risk)

    def delete_epoch(self, partition: Partition) -> None:
        self._streams[partition].epoch = None
        self._recount(self._at_risk())

    def destroy_group(self, partition: Partition, name: str) -> None:
        group = self._streams[partition].groups.get(name)
        if group is not None:
            group.position = START
            group.pending.clear()
            group.deliveries.clear()
            group.exists = False

    def holder(self, partition: Partition, role: str) -> str:
        """Who has the lease; nobody is ""."""
        name, until = self._streams[partition].leases.get(role, ("", 0.0))
        return name if until > self._clock() else ""

    def partitions(self) -> list[Partition]:
        return sorted(partition for partition in self._streams if partition.name != "accounts")

    def group_names(self, partition: Partition) -> list[str]:
        return sorted(self._streams[partition].groups)

    def _recount(self, at_risk: set[str]) -> None:
        """Something was lost. A publisher may say again what the stream does not hold any more; everything, when its epoch is another."""
        self.lost_at = self._now()
        kept = self._parked() | self._unfinished()
        self.returned_parked |= kept & self.lost_parked
        self.lost_parked = (self.lost_parked | at_risk) - kept
        self.appended.clear()
        for partition, stream in self._streams.items():
            if stream.epoch is not None:
                self.appended[partition] = [
                    fields[b"id"].decode() for fields in stream.entries.values()
                ]


def latency(random: Random) -> float:
    """Of one way to a server, in seconds: once in a while long enough for a lease to run out."""
    return (
        random.uniform(0.5, 6.0)
        if random.random() < 0.004
        else random.choice((0.0005, 0.001, 0.002, 0.02))
    )


class Network:
    """The way of one process to the server: every call takes time, and may get lost on the way there or back, or arrive late."""

    def __init__(self, redis: Redis, process: Process, random: Random, loop: VirtualLoop) -> None:
        self.redis = redis
        self.process = process
        self.random = random
        self.loop = loop
        self.trouble = 0.0
        """Share of the calls that fail."""
        self.faults = 0

    async def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(latency(self.random))
        if self.redis.away:
            await asyncio.sleep(self._timeout())
            raise BrokerUnavailable("the server does not answer")
        fault = (
            self.random.choice(("request", "answer", "late"))
            if self.random.random() < self.trouble
            else ""
        )
        self.faults += bool(fault)
        if fault == "late":
            # The client gives up, and the server does it all the same.
            self.loop.spawn(None, self._later(self.random.uniform(0.1, 8.0), name, *args, **kwargs))
        if fault in ("request", "late"):
            await asyncio.sleep(self._timeout())
            raise BrokerUnavailable("no answer")
        if self.redis.full and name in GROWING:
            raise BrokerUnavailable("OOM command not allowed")
        answer = await getattr(self.redis, name)(*args, **kwargs)
        await asyncio.sleep(self._timeout() if fault else latency(self.random))
        if fault:
            raise BrokerUnavailable("the answer was lost")
        return answer

    async def _later(self, delay: float, name: str, *args: Any, **kwargs: Any) -> None:
        await asyncio.sleep(delay)
        if self.redis.away or (self.redis.full and name in GROWING):
            return
        try:
            await getattr(self.redis, name)(*args, **kwargs)
        except BrokerError:
            return  # nobody hears it

    def _timeout(self) -> float:
        return self.random.uniform(0.05, 3.0)


def _forward(name: str) -> Any:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await self.network.call(name, *args, **kwargs)

    return method


class _Client:
    network: Network

    def bell(self) -> Bell:
        return PollingBell(self.network)


def client(network: Network) -> Broker:
    """The broker as one process sees it: every method a call through its network."""
    names = Broker.__abstractmethods__ - {"bell", "close"}
    kind = type(
        "Client", (_Client, Broker), {name: _forward(name) for name in names} | {"close": _nothing}
    )
    made = kind()
    made.network = network
    return cast(Broker, made)


async def _nothing(self: Any) -> None:
    del self


class PollingBell(Bell):
    """Looks now and then: what a dead process waits for must not concern the others."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._interrupted = False

    async def wait(self, positions: Mapping[Partition, EntryId], timeout: float) -> set[Partition]:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while loop.time() < until and not self._interrupted:
            if self._network.redis.away:
                raise BrokerUnavailable("the server does not answer")
            streams = self._network.redis._streams
            found = {
                partition
                for partition, at in positions.items()
                if (streams[partition].newest() or START) > at
            }
            if found:
                return found
            await asyncio.sleep(0.2)
        self._interrupted = False
        return set()

    async def interrupt(self) -> None:
        self._interrupted = True

    async def close(self) -> None:
        return None
