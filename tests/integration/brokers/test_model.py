"""The simulation's model of Redis answers as Redis does, after any sequence of calls and losses."""

import asyncio
import secrets
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from redis.asyncio import Redis as Client

from edgy_bus.brokers.base import (
    START,
    Broker,
    DeadLetter,
    EntryId,
    Fetched,
    Kept,
    Lease,
    StreamHead,
)
from edgy_bus.brokers.redis import RedisBroker
from edgy_bus.codec import Wire
from edgy_bus.errors import LeaseLost
from tests.simulation.broker import Redis
from tests.support import PARTITION

GROUPS = st.sampled_from(["mail", "search"])


class Side:
    """Hold one of the two brokers and its entry ids. Entries are compared by their events."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.names: dict[EntryId, str] = {START: ""}
        self.head = StreamHead()
        self.leases: dict[str, list[Lease]] = {"mail": [], "search": []}
        self.fetched: dict[str, list[EntryId]] = {"mail": [], "search": []}

    def name(self, entry: EntryId) -> str:
        return self.names[entry]


class Both(RuleBasedStateMachine):
    """Do every step on both brokers, and compare the answers."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.prefix = f"t-{secrets.token_hex(6)}"
        # The model's clock stands still: it numbers entries as a server does in one millisecond.
        self.model = Redis(lambda: 0.0)
        self.real = RedisBroker(self.url, self.prefix)
        self.sides = [Side(self.model), Side(self.real)]
        self.count = 0

    def teardown(self) -> None:
        self.run(self.real.erase())
        self.run(self.real.close())
        self.loop.close()

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(call)

    def both(self, call: Any) -> Any:
        """Return the answer of both brokers, which must be the same."""
        answers = []
        for side in self.sides:
            try:
                answers.append(self.run(call(side)))
            except LeaseLost:
                answers.append("lost")
        assert answers[0] == answers[1], f"the model says {answers[0]}, Redis {answers[1]}"
        return answers[0]

    # Publishing

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        ids = [f"e{self.count + number}" for number in range(count)]
        self.count += count

        async def call(side: Side) -> bool:
            entries = await side.broker.publish(
                PARTITION, side.head, [Wire(event_id, b"{}", b"{}") for event_id in ids]
            )
            if entries is None:
                return False
            side.names.update(zip(entries, ids, strict=True))
            side.head = StreamHead(side.head.epoch, entries[-1], ids[-1])
            return True

        self.both(call)

    @rule(known=st.booleans())
    def inspect(self, known: bool) -> None:
        fresh = secrets.token_hex(4)

        async def call(side: Side) -> Any:
            state = await side.broker.inspect(
                PARTITION, side.head if known else StreamHead(), fresh
            )
            old, side.head = side.head, state.head
            return (
                [mark.event_id for mark in state.behind],
                state.epoch == fresh,
                state.epoch == old.epoch,
            )

        self.both(call)

    @rule(forged=st.booleans())
    def progress_and_trim(self, forged: bool) -> None:
        async def call(side: Side) -> Any:
            head = replace(side.head, event_id="forged") if forged else side.head
            progress = await side.broker.progress(PARTITION, head)
            if progress is None:
                return None
            below = min([head.entry, *progress.values()])
            trimmed = await side.broker.trim(PARTITION, head, below, progress) if progress else 0
            backlog = await side.broker.backlog(PARTITION)
            unfinished = {group.group for group in backlog if group.unfinished}
            # The id before the id after the last read entry is that entry's id.
            last = {
                group: EntryId(entry.ms, entry.seq - (group not in unfinished))
                for group, entry in progress.items()
            }
            return {group: side.name(entry) for group, entry in last.items()}, trimmed

        self.both(call)

    # Consuming

    @rule(group=GROUPS)
    def acquire(self, group: str) -> None:
        async def call(side: Side) -> Any:
            lease = await side.broker.acquire(PARTITION, group, "w", 600)
            if lease is not None:
                side.leases[group].append(lease)
                side.fetched[group] = []
            return lease.token if lease else None

        self.both(call)

    @rule(group=GROUPS)
    def release(self, group: str) -> None:
        async def call(side: Side) -> None:
            if side.leases[group]:
                await side.broker.release(side.leases[group][-1])

        self.both(call)

    @rule(
        group=GROUPS,
        count=st.integers(1, 5),
        inherit=st.booleans(),
        old=st.booleans(),
        index=st.none() | st.integers(0, 9),
    )
    def fetch(self, group: str, count: int, inherit: bool, old: bool, index: int | None) -> None:
        async def call(side: Side) -> Any:
            if not side.leases[group]:
                return None
            lease = side.leases[group][0 if old else -1]
            after = START
            if side.fetched[group] and index is not None:
                after = side.fetched[group][index % len(side.fetched[group])]
            fetched: Fetched = await side.broker.fetch(lease, count, inherit=inherit, after=after)
            side.fetched[group] += [entry.id for entry in fetched.entries]
            entries = [
                (side.name(entry.id), dict(entry.fields), entry.notes, list(entry.kept))
                for entry in fetched.entries
            ]
            return (
                entries,
                fetched.inherited,
                side.name(fetched.position),
                sorted(side.name(entry) for entry in fetched.missing),
            )

        self.both(call)

    @rule(
        group=GROUPS,
        index=st.integers(0, 9),
        how=st.sampled_from(["settle", "note", "bury"]),
        proofs=st.sampled_from([(), (b"x",), (b"y",)]),
    )
    def finish(self, group: str, index: int, how: str, proofs: tuple[bytes, ...]) -> None:
        async def call(side: Side) -> Any:
            if not side.fetched[group]:
                return None
            entry = side.fetched[group][index % len(side.fetched[group])]
            lease = side.leases[group][-1]
            kept = [Kept(entry, "r", event_id) for event_id in proofs]
            if how == "settle":
                await side.broker.settle(lease, [entry], kept)
            elif how == "note":
                await side.broker.note(lease, {entry: b"a note"}, kept)
            else:
                await side.broker.bury(lease, DeadLetter(entry, "r", "no", 1, {b"id": b"x"}))
            return how

        self.both(call)

    @rule()
    def look(self) -> None:
        async def call(side: Side) -> Any:
            groups = await side.broker.backlog(PARTITION)
            return sorted(
                (group.group, group.unfinished, group.unread, group.dead)
                for group in groups
                if group.unfinished or group.unread
            )

        self.both(call)

    # Losses

    @rule(kind=st.sampled_from(["stream", "epoch", "mail", "everything"]))
    def lose(self, kind: str) -> None:
        self.run(self._lose(kind))

    async def _lose(self, kind: str) -> None:
        keys, client = self.real.keys, Client.from_url(self.url)
        if kind == "stream":
            self.model.delete_stream(PARTITION)
            await client.delete(keys.events(PARTITION))
        elif kind == "epoch":
            self.model.delete_epoch(PARTITION)
            await client.delete(keys.epoch(PARTITION))
        elif kind == "mail":
            self.model.destroy_group(PARTITION, "mail")
            if await client.exists(keys.events(PARTITION)):
                await client.xgroup_destroy(keys.events(PARTITION), "mail")
        else:
            self.model.lose_everything()
            await self.real.erase()
        await client.aclose()


@pytest.mark.timeout(240)
def test_the_model_answers_as_redis_does(redis_url: str) -> None:
    kind = type("Machine", (Both,), {"url": redis_url})
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=150,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
