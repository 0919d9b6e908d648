"""A model of Redis that fails as Redis does, and a network that fails as networks do.

The model is `MemoryBroker`. `tests/integration/brokers/test_model.py` compares the model with a
real Redis, call by call. The model records every append and every dead letter for the checker.
"""

import asyncio
import pickle
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, cast

from edgy_bus.brokers.base import (
    START,
    Bell,
    Broker,
    DeadLetter,
    EntryId,
    Lease,
    Listed,
    RowKey,
    StreamHead,
)
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.brokers.memory.state import Group, Stream
from edgy_bus.codec import Wire, unpack
from edgy_bus.errors import BrokerError, BrokerNotReady, BrokerUnavailable
from edgy_bus.events import Partition
from tests.simulation.loop import Process, VirtualLoop

GROWING = ("publish", "announce", "bury", "park")
"""The calls that a full Redis refuses."""

State = tuple[dict[Partition, Stream], dict[str, int], dict[str, dict[str, Listed]]]


class Redis(MemoryBroker):
    """Play the server: one instance serves all processes of a run."""

    growing = GROWING

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(lambda: 1_000_000.0 + now() + self.clock_offset)
        self._now = now
        self.clock_offset = 0.0
        self.away = False
        self.full = False
        self.appended: dict[Partition, list[str]] = defaultdict(list)
        """The event ids of each stream that no loss has taken."""
        self.repeated: list[str] = []
        """Events that were appended to a stream that already had them."""
        self.letters: set[tuple[str, str]] = set()
        """Receiver and event id of every dead letter of the run."""
        self._were_parked: set[str] = set()
        """Events that were parked at some loss.

        The publisher may count such events as confirmed; then only Redis has them.
        """
        self.lost_parked: set[str] = set()
        """Events that a loss took while parked, or unfinished again, and that did not come back."""
        self.returned_parked: set[str] = set()
        """Lost parked events that a copy brought back, maybe after later events were handled."""
        self.lost_at = -1e9
        """The time of the last loss, which may have taken leases."""

    async def _append(self, stream: Stream, events: Sequence[Wire]) -> list[EntryId]:
        partition = next(name for name, held in self._streams.items() if held is stream)
        for wire in events:
            if wire.id in self.appended[partition]:
                self.repeated.append(wire.id)
            if wire.id in self.lost_parked:
                # The publisher sends it again, behind an older event of the row that came back.
                self.lost_parked.remove(wire.id)
                self.returned_parked.add(wire.id)
            self.appended[partition].append(wire.id)
        return await super()._append(stream, events)

    async def bury(self, lease: Lease, letter: DeadLetter, *rest: Any) -> int:
        removed = await super().bury(lease, letter, *rest)
        self.letters.add((letter.receiver, _event_id(letter)))
        return removed

    async def decide(self, partition: Partition, group: str, row: RowKey, *, skip: bool) -> bool:
        first = await self.parked(partition, group, row)
        decided = await super().decide(partition, group, row, skip=skip)
        if decided and skip:
            self.letters.add((row.receiver, _event_id(first[0].letter)))
        return decided

    # Failures of the server

    def image(self) -> State:
        """Return a copy of the data, as a replica has one."""
        return pickle.dumps((dict(self._streams), dict(self._models), dict(self._rosters)))

    def restore(self, image: State) -> None:
        """Fail over to a replica that had not received everything."""
        streams, models, rosters = pickle.loads(image)
        at_risk = self._at_risk()
        self._streams.clear()
        self._streams.update(streams)
        self._models = models
        self._rosters.clear()
        self._rosters.update(rosters)
        for group in rosters:
            self._change_roster(group)
        self._recount(at_risk)

    def lose_everything(self) -> None:
        """Lose all data."""
        at_risk = self._at_risk()
        self._streams.clear()
        self._models.clear()
        self._workers.clear()
        self._rosters.clear()
        self._roster_versions.clear()
        self._pauses.clear()
        self._recount(at_risk)

    def delete_stream(self, partition: Partition) -> None:
        """Delete the key of a stream, and thereby its groups. The other keys stay."""
        at_risk = self._at_risk()
        stream = self._streams[partition]
        stream.entries.clear()
        stream.last = START
        for name in stream.groups:
            self.destroy_group(partition, name)
        self._recount(at_risk)

    def delete_epoch(self, partition: Partition) -> None:
        """Delete the key of a stream's epoch."""
        self._streams[partition].epoch = None
        self._recount(self._at_risk())

    def destroy_group(self, partition: Partition, name: str) -> None:
        """Remove a group from its stream. Its other keys stay."""
        group = self._group(partition, name)
        if group is not None:
            group.position = START
            group.pending.clear()
            group.deliveries.clear()
            group.exists = False

    # The view of the checker

    def is_finished(self) -> bool:
        """Return whether every group has finished every entry and every parked event."""
        return all(
            not group.pending and not group.parked and group.position >= (stream.newest() or START)
            for stream in self._streams.values()
            for group in stream.groups.values()
        )

    def all_aside(self) -> list[str]:
        """Return the receivers that are set aside, with their partitions."""
        return [
            f"{group}/{receiver} at {partition}"
            for partition, stream in sorted(self._streams.items())
            for group, attendance in stream.attendances.items()
            for receiver in attendance.asides
        ]

    def is_aside(self, partition: Partition, group: str, receiver: str) -> bool:
        """Return whether a receiver is set aside from a partition."""
        return receiver in self._streams[partition].attendances[group].asides

    def stands_at(self, partition: Partition, head: StreamHead) -> bool:
        """Return whether the newest entry of a stream is the entry of a head."""
        stream = self._streams.get(partition)
        if stream is None or stream.epoch != head.epoch:
            return False
        return stream.holds(head) if head.event_id else not stream.entries

    def holder(self, partition: Partition, role: str) -> str:
        """Return the holder of a lease, or ""."""
        name, until = self._streams[partition].leases.get(role, ("", 0.0))
        return name if until > self._clock() else ""

    def alive(self) -> set[str]:
        """Return the workers that are alive, of all groups."""
        now = self._clock()
        workers = [worker for group in self._workers.values() for worker in group.items()]
        return {name for name, (until, _) in workers if until > now}

    def partitions(self) -> list[Partition]:
        """Return the partitions of the run's model."""
        return sorted(partition for partition in self._streams if partition.name != "accounts")

    def group_names(self, partition: Partition) -> list[str]:
        """Return the groups of a partition."""
        return sorted(self._streams[partition].groups)

    def undrained(self, group: str, waiting: Collection[str]) -> list[str]:
        """Return the events that a group has not finished, but those of rows that have to wait."""
        left = []
        for partition in self.partitions():
            stream = self._streams[partition]
            for progress in _progresses(stream, group):
                for entry, fields in stream.entries.items():
                    unfinished = entry > progress.position or entry in progress.pending
                    if unfinished and unpack(fields).subject not in waiting:
                        left.append(f"{group}: {fields[b'id'].decode()}")
        return left

    def untrimmed(self) -> list[str]:
        """Return the streams that have more entries than their newest."""
        return [str(name) for name in self.partitions() if len(self._streams[name].entries) > 1]

    def rows_to_wait(self) -> set[str]:
        """Return the rows with an unfinished event that cannot be put aside while it is full."""
        rows: set[str] = set()
        for partition in self.partitions():
            stream = self._streams[partition]
            # A stream that has lost the group still knows its held rows.
            for name, state in stream.groups.items():
                if name.partition("/")[0] == "mail":
                    rows |= {row.subject for row in state.held}
            for group in _progresses(stream, "mail"):
                for entry, fields in stream.entries.items():
                    unfinished = entry > group.position or entry in group.pending
                    if unfinished and _is_given_up(fields):
                        rows.add(unpack(fields).subject or "")
        return rows

    def _parked(self) -> set[str]:
        groups = [group for stream in self._streams.values() for group in stream.groups.values()]
        rows = [row for group in groups for row in group.parked.values()]
        return {_event_id(parked.letter) for row in rows for parked in row}

    def _at_risk(self) -> set[str]:
        """Return the events that a loss may take for good.

        An event that was finished meanwhile, rightly or wrongly, is not at risk.
        """
        parked = self._parked()
        self._were_parked |= parked
        return parked | (self._were_parked & self._unfinished())

    def _unfinished(self) -> set[str]:
        """Return the events that the group with held rows has not finished."""
        events = set()
        for stream in self._streams.values():
            for group in _progresses(stream, "mail"):
                for entry, fields in stream.entries.items():
                    if entry > group.position or entry in group.pending:
                        events.add(fields[b"id"].decode())
        return events

    def _recount(self, at_risk: set[str]) -> None:
        """Record a loss.

        A publisher may append again the events that the stream has lost, and all events when the
        stream's epoch is another.
        """
        self.lost_at = self._now()
        kept = self._parked() | self._unfinished()
        self.returned_parked |= kept & self.lost_parked
        self.lost_parked = (self.lost_parked | at_risk) - kept
        self.appended.clear()
        for partition, stream in self._streams.items():
            if stream.epoch is not None:
                ids = [fields[b"id"].decode() for fields in stream.entries.values()]
                self.appended[partition] = ids


def _progresses(stream: Stream, group: str) -> list[Group]:
    """Return the progress of a group, and of its receivers that are set aside."""
    return [progress or Group() for progress in stream.groups_of(group)]


def _event_id(letter: DeadLetter) -> str:
    return letter.fields[b"id"].decode()


def _is_given_up(fields: Mapping[bytes, bytes]) -> bool:
    data = fields[b"data"]
    return b'"poison":true' in data or b'"deadly":true' in data


def latency(random: Random) -> float:
    """Return the seconds of one way to a server: now and then longer than a lease."""
    if random.random() < 0.004:
        return random.uniform(0.5, 6.0)
    return random.choice((0.0005, 0.001, 0.002, 0.02))


class Network:
    """Connect one process with the server.

    Every call takes time. A call or its answer may get lost, and a call may arrive late.
    """

    def __init__(self, redis: Redis, process: Process, random: Random, loop: VirtualLoop) -> None:
        self.redis = redis
        self.process = process
        self.random = random
        self.loop = loop
        self.trouble = 0.0
        """The share of calls that fail."""
        self.faults = 0
        self.disturbed_at = -1e9
        """When a call took long or failed, the last time."""
        self.refused: Callable[[Lease], None] = lambda lease: None
        """Called when the process learns that a lease is lost."""

    async def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        lease = args[0] if args else None
        if isinstance(lease, Lease):
            # The server sees what the request says, and the tenure learns what an answer says.
            args = (replace(lease, confirmed=replace(lease.confirmed)), *args[1:])
        await self._travel()
        if self.redis.away:
            self.disturbed_at = self.loop.time()
            await asyncio.sleep(self._timeout())
            raise BrokerUnavailable("the server does not answer")
        fault = (
            self.random.choice(("refusal", "request", "answer", "late"))
            if self.random.random() < self.trouble
            else ""
        )
        self.faults += bool(fault)
        if fault:
            self.disturbed_at = self.loop.time()
        if fault == "refusal":
            # As a replica, or a server that loads its data, answers.
            raise BrokerNotReady("the server refused the call")
        if fault == "late":
            # The client gives up, and the server acts all the same.
            self.loop.spawn(None, self._later(self.random.uniform(0.1, 8.0), name, *args, **kwargs))
        if fault in ("request", "late"):
            await asyncio.sleep(self._timeout())
            raise BrokerUnavailable("no answer")
        if self._refused(name, args, **kwargs):
            raise BrokerNotReady("OOM command not allowed")
        answer = await getattr(self.redis, name)(*args, **kwargs)
        if fault:
            await asyncio.sleep(self._timeout())
            raise BrokerUnavailable("the answer was lost")
        await self._travel()
        if isinstance(lease, Lease):
            lease.confirmed.learn(args[0].confirmed.write)
        return answer

    async def _travel(self) -> None:
        seconds = latency(self.random)
        if seconds > 0.1:
            self.disturbed_at = self.loop.time() + seconds
        await asyncio.sleep(seconds)

    async def _later(self, delay: float, name: str, *args: Any, **kwargs: Any) -> None:
        await asyncio.sleep(delay)
        if self.redis.away or self._refused(name, args, **kwargs):
            return
        try:
            await getattr(self.redis, name)(*args, **kwargs)
        except BrokerError:
            return  # The client has given up long ago.

    def _refused(self, name: str, args: Sequence[Any], begin: bool = True, **_: Any) -> bool:
        """Return whether the server is full, and the call has to write."""
        if not self.redis.full or name not in self.redis.growing:
            return False
        if name not in ("park", "bury"):
            return True
        # A repeated call changes nothing, and neither does one about a row that is free.
        group = self.redis._group(args[0].partition, args[0].role) or Group()
        side = self.redis._group(args[0].partition, args[0].group) or Group()
        letter: DeadLetter = args[1] if name == "bury" else args[2]
        free = name == "park" and not begin and args[1] not in side.held
        return not free and letter.kept not in group.kept

    def _timeout(self) -> float:
        return self.random.uniform(0.05, 3.0)


def _forward(name: str) -> Any:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await self.network.call(name, *args, **kwargs)

    return method


class _Client:
    capabilities = MemoryBroker.capabilities
    network: Network

    def bell(self) -> Bell:
        return PollingBell(self.network)

    async def renew_all(
        self, leases: Sequence[Lease], ttl: float
    ) -> Sequence[bool | BaseException]:
        answers: Sequence[bool | BaseException] = await super().renew_all(leases, ttl)  # type: ignore[misc]
        for lease, answer in zip(leases, answers, strict=True):
            if answer is False:
                self.network.refused(lease)
        return answers


def client(network: Network) -> Broker:
    """Return the broker of one process: every method is a call through the network."""
    # What relays tell operators takes no part in the promises, and no random number.
    silent = ("close", "list_relay", "unlist_relay")
    names = Broker.__abstractmethods__ - {"bell", *silent}
    methods = {name: _forward(name) for name in names} | dict.fromkeys(silent, _nothing)
    broker = type("Client", (_Client, Broker), methods)()
    broker.network = network
    return cast(Broker, broker)


async def _nothing(self: Any, *args: Any) -> None:
    del self, args


class PollingBell(Bell):
    """Look now and then. A waiting call of a dead process must not affect other processes."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._interrupted = False

    async def wait(
        self, positions: Mapping[Partition, EntryId], timeout: float
    ) -> dict[Partition, EntryId]:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while loop.time() < until and not self._interrupted:
            if self._network.redis.away:
                raise BrokerUnavailable("the server does not answer")
            streams = self._network.redis._streams
            ready = {}
            for partition, position in positions.items():
                entry = streams[partition].first_after(position)
                if entry is not None:
                    ready[partition] = entry
            if ready:
                return ready
            await asyncio.sleep(0.2)
        self._interrupted = False
        return {}

    async def interrupt(self) -> None:
        self._interrupted = True

    async def close(self) -> None:
        return None
