"""Compare the pure parts of the protocols with models, in any order of calls and losses.

Each comparison must find the mistakes that this file plants.
"""

import asyncio
import copy
import dataclasses
import itertools
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Executable, or_
from sqlalchemy.dialects import sqlite

from edgy_bus.brokers.base import START, EntryId, Landmark, Lease, StreamHead, StreamState
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.brokers.memory.state import Stream as BrokerStream
from edgy_bus.codec import Envelope, Wire
from edgy_bus.database import Database
from edgy_bus.errors import LeaseLost
from edgy_bus.retrying import Retry, RetryLater, Snooze
from edgy_bus.runtime import inbox, outcome
from edgy_bus.runtime.outcome import Again, Done, Failed, GiveUp, Note, decide
from tests.support import PARTITION


def now(call: Coroutine[Any, Any, Any]) -> Any:
    """The answer of a call that has nothing to wait for."""
    with pytest.raises(StopIteration) as answer:
        call.send(None)
    return answer.value.value


def check(machine: type[RuleBasedStateMachine], **planted: Any) -> None:
    """Run a machine, always with the same steps; with a planted mistake, the machine must fail."""
    kind = type(machine.__name__, (machine,), planted)
    phases = [Phase.generate] if planted else list(Phase)
    # Hypothesis derives the steps from the source text, so every edit of this file changes them.
    # The rarest mistake shows in 1 of about 800 examples; the search ends at the first failure.
    options = settings(
        max_examples=6_000 if planted else 80,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(kind, settings=options)


# Publishing: a stream with an epoch, and publishers, each with the head that it knows


@dataclasses.dataclass
class Stream:
    """The model: what a stream holds, as a list."""

    epoch: str | None = None
    entries: list[Landmark] = dataclasses.field(default_factory=list)

    @property
    def head(self) -> StreamHead:
        newest = self.entries[-1] if self.entries else Landmark(START, "")
        return StreamHead(self.epoch or "", newest.entry, newest.event_id)

    def inspect(self, head: StreamHead, fresh: str, count: int) -> StreamState:
        known = head.entry == START or Landmark(head.entry, head.event_id) in self.entries
        if self.epoch is None or (self.epoch == head.epoch and not known):
            self.epoch = fresh
        behind = [
            mark for mark in self.entries if self.epoch != head.epoch or mark.entry > head.entry
        ]
        return StreamState(self.epoch, self.entries[-1] if self.entries else None, behind[:count])

    def landmarks(self, newest: StreamHead, after: EntryId, count: int) -> list[Landmark] | None:
        if (
            self.epoch != newest.epoch
            or Landmark(newest.entry, newest.event_id) not in self.entries
        ):
            return None
        return [mark for mark in self.entries if after < mark.entry <= newest.entry][:count]


publishers = st.integers(0, 1)


class Publishing(RuleBasedStateMachine):
    """Check that an append needs the current stream head, and that `inspect` finds lost events."""

    broker_kind: ClassVar[type[MemoryBroker]] = MemoryBroker

    def __init__(self) -> None:
        super().__init__()
        # The clock stands still, as for a server within a millisecond, so the broker assigns lost
        # numbers again.
        self.broker = self.broker_kind(lambda: 0.0)
        self.model = Stream()
        self.heads = [StreamHead()] * 2
        self.events, self.epochs = itertools.count(1), itertools.count(1)
        for publisher in range(2):
            self._inspect(publisher, 1)
        self.images = [self._image()]

    def _image(self) -> tuple[Any, Stream]:
        return copy.deepcopy(self.broker._streams), copy.deepcopy(self.model)

    @rule(publisher=publishers, count=st.integers(1, 3), answered=st.booleans())
    def publish(self, publisher: int, count: int, answered: bool) -> None:
        head = self.heads[publisher]
        ids = [f"e{next(self.events)}" for _ in range(count)]
        entries = now(self.broker.publish(PARTITION, head, [Wire(one, b"", b"") for one in ids]))
        if self.model.epoch is None or head != self.model.head:
            assert entries is None, "it appended where the stream did not stand"
            return
        assert entries is not None, "it refused where the stream stood"
        assert [head.entry, *entries] == sorted({head.entry, *entries}), "numbers do not rise"
        self.model.entries += [
            Landmark(entry, one) for entry, one in zip(entries, ids, strict=True)
        ]
        if answered:
            self.heads[publisher] = self.model.head

    @rule(publisher=publishers, count=st.integers(1, 4))
    def inspect(self, publisher: int, count: int) -> None:
        self._inspect(publisher, count)

    def _inspect(self, publisher: int, count: int) -> None:
        head, fresh = self.heads[publisher], f"epoch {next(self.epochs)}"
        state = now(self.broker.inspect(PARTITION, head, fresh, count))
        expected = self.model.inspect(head, fresh, count)
        assert (state.epoch, state.newest, list(state.behind)) == (
            expected.epoch,
            expected.newest,
            expected.behind,
        )
        self.heads[publisher] = self.model.head

    @rule(publisher=publishers, after=st.integers(0, 6), count=st.integers(1, 4))
    def look_further(self, publisher: int, after: int, count: int) -> None:
        head, partition = self.heads[publisher], EntryId(0, after)
        marks = now(self.broker.landmarks(PARTITION, head, partition, count))
        assert (None if marks is None else list(marks)) == self.model.landmarks(
            head, partition, count
        )

    @rule()
    def photograph(self) -> None:
        self.images.append(self._image())

    @rule(which=st.integers(0, 9))
    def fail_over(self, which: int) -> None:
        """To a copy from before."""
        self.broker._streams, self.model = copy.deepcopy(self.images[which % len(self.images)])

    @rule()
    def delete_stream(self) -> None:
        stream = self.broker._streams[PARTITION]
        stream.entries.clear()
        stream.last = START
        self.model.entries.clear()

    @rule()
    def delete_epoch(self) -> None:
        self.broker._streams[PARTITION].epoch = None
        self.model.epoch = None


def test_publishing_does_what_its_model_does() -> None:
    check(Publishing)


class ComparesNumbersOnly(MemoryBroker):
    async def publish(self, partition: Any, head: StreamHead, batch: Any) -> list[EntryId] | None:
        stream = self._streams[partition]
        if stream.epoch is None or (stream.epoch, stream.newest() or START) != (
            head.epoch,
            head.entry,
        ):
            return None
        return await self._append(stream, batch)


class ComparesNoEpoch(MemoryBroker):
    async def publish(self, partition: Any, head: StreamHead, batch: Any) -> list[EntryId] | None:
        known = dataclasses.replace(head, epoch=self._streams[partition].epoch or "")
        return await super().publish(partition, known, batch)


class NoticesNoLoss(MemoryBroker):
    async def inspect(
        self, partition: Any, head: StreamHead, fresh_epoch: str, count: int = 100
    ) -> StreamState:
        known = (
            head if self._streams[partition].holds(head) else dataclasses.replace(head, entry=START)
        )
        return await super().inspect(partition, known, fresh_epoch, count)


class ShowsTheNewestOnly(MemoryBroker):
    async def inspect(
        self, partition: Any, head: StreamHead, fresh_epoch: str, count: int = 100
    ) -> StreamState:
        state = await super().inspect(partition, head, fresh_epoch, 1_000)
        return dataclasses.replace(state, behind=state.behind[-count:])


class LooksFurtherAnywhere(MemoryBroker):
    async def landmarks(
        self, partition: Any, newest: StreamHead, after: EntryId, count: int = 100
    ) -> Any:
        stream = self._streams[partition]
        return [
            stream.landmark(entry) for entry in stream.entries if after < entry <= newest.entry
        ][:count]


@pytest.mark.parametrize(
    "kind",
    [ComparesNumbersOnly, ComparesNoEpoch, NoticesNoLoss, ShowsTheNewestOnly, LooksFurtherAnywhere],
)
def test_mistakes_in_publishing_are_found(kind: type[MemoryBroker]) -> None:
    with pytest.raises(AssertionError):
        check(Publishing, broker_kind=kind)


# Leases: owners that come, sleep and wake, and a clock


class Leasing(RuleBasedStateMachine):
    """Never two holders, and every holder has a higher token than all before."""

    broker_kind: ClassVar[type[MemoryBroker]] = MemoryBroker
    leases: Bundle[Lease] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.time = 1_000.0
        self.broker = self.broker_kind(lambda: self.time)
        self.issued: list[Lease] = []
        self.holder: Lease | None = None
        self.until = 0.0

    @property
    def held(self) -> Lease | None:
        return self.holder if self.time < self.until else None

    @rule(target=leases, owner=st.sampled_from("ab"), ttl=st.integers(1, 5))
    def acquire(self, owner: str, ttl: int) -> Any:
        lease = now(self.broker.acquire(PARTITION, "mail", owner, ttl))
        assert (lease is None) == (self.held is not None)
        if lease is None:
            return multiple()
        assert all(lease.token > one.token for one in self.issued), (
            "a token was given out again, or a lower one"
        )
        self.holder, self.until = lease, self.time + ttl
        self.issued.append(lease)
        return lease

    @rule(lease=leases, ttl=st.integers(1, 5))
    def renew(self, lease: Lease, ttl: int) -> None:
        held = self.held == lease
        assert now(self.broker.renew(lease, ttl)) == held
        if held:
            self.until = self.time + ttl

    @rule(lease=leases)
    def release(self, lease: Lease) -> None:
        now(self.broker.release(lease))
        if self.held == lease:
            self.holder = None

    @rule(seconds=st.integers(1, 6))
    def sleep(self, seconds: int) -> None:
        self.time += seconds

    @precondition(lambda self: self.issued)
    @invariant()
    def at_most_one_may_work(self) -> None:
        working = []
        for lease in self.issued:
            try:
                now(self.broker.settle(lease, []))
            except LeaseLost:
                continue
            working.append(lease)
        assert working == [one for one in [self.held] if one is not None]


def test_leases_do_what_their_model_does() -> None:
    check(Leasing)


class ReleasesForAnybody(MemoryBroker):
    async def release(self, lease: Lease) -> None:
        self._streams[lease.partition].leases.pop(lease.role, None)


class RenewsWhatHasEnded(MemoryBroker):
    async def renew(self, lease: Lease, ttl: float) -> bool:
        stream = self._streams[lease.partition]
        if stream.leases.get(lease.role, ("", 0.0))[0] != lease.holder:
            return False
        stream.leases[lease.role] = (lease.holder, self._clock() + ttl)
        return True


class LeasesNeverEnd(MemoryBroker):
    def _holds(self, lease: Lease) -> bool:
        return self._streams[lease.partition].leases.get(lease.role, ("", 0.0))[0] == lease.holder


class CountsTenuresAnew(MemoryBroker):
    async def release(self, lease: Lease) -> None:
        held = self._holds(lease)
        await super().release(lease)
        if held:
            self._streams[lease.partition].fences.clear()


class TakesWhatIsHeld(MemoryBroker):
    async def acquire(self, partition: Any, role: str, owner: str, ttl: float) -> Lease | None:
        stream: BrokerStream = self._streams[partition]
        if stream.leases.get(role, ("", 0.0))[0].endswith(f".{owner}"):
            stream.leases.pop(role)
        return await super().acquire(partition, role, owner, ttl)


@pytest.mark.parametrize(
    "kind",
    [ReleasesForAnybody, RenewsWhatHasEnded, LeasesNeverEnd, CountsTenuresAnew, TakesWhatIsHeld],
)
def test_mistakes_in_leases_are_found(kind: type[MemoryBroker]) -> None:
    with pytest.raises(AssertionError):
        check(Leasing, broker_kind=kind)


# Retries: a receiver that does what it likes, and the note that goes from call to call

policies = st.builds(
    Retry,
    attempts=st.integers(1, 10_000),
    delay=st.floats(0, 1e6),
    factor=st.floats(1, 1e6),
    ceiling=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
)


@given(policies, st.integers(1, 10_001), st.floats(0, 1))
def test_a_wait_is_within_bounds_and_there_is_none_after_the_last_attempt(
    policy: Retry, failed: int, chance: float
) -> None:
    wait = policy.wait(failed, chance)
    assert (wait is None) == (failed >= policy.attempts)
    if wait is not None:
        longest = policy.wait(failed, 0)
        assert longest is not None
        assert 0 <= wait <= longest <= policy.ceiling
        assert wait >= longest * (1 - policy.jitter) * 0.999_999
        assert longest >= min(policy.ceiling, policy.delay)


@given(policies, st.integers(1, 9_999))
def test_waits_do_not_become_shorter(policy: Retry, failed: int) -> None:
    this, following = policy.wait(failed, 0), policy.wait(failed + 1, 0)
    assume(following is not None)
    assert this is not None
    assert following is not None
    assert this <= following


class Retrying(RuleBasedStateMachine):
    """Check that the note counts only failed calls, and that the last failure buries the event."""

    decide: ClassVar[Any] = staticmethod(decide)

    @initialize(attempts=st.integers(1, 6))
    def begin(self, attempts: int) -> None:
        self.retry = Retry(attempts=attempts, delay=1.0, factor=2.0, ceiling=5.0)
        self.note, self.time, self.failures, self.over = Note(), 1_000.0, 0, False

    @precondition(lambda self: not self.over)
    @rule(
        what=st.sampled_from([Failed("no"), RetryLater(), RetryLater(3.0)]), chance=st.floats(0, 1)
    )
    def fail(self, what: Failed | RetryLater, chance: float) -> None:
        self.failures += 1
        decision = self.decide(what, self.note, self.retry, self.time, chance)
        if self.failures >= self.retry.attempts:
            assert isinstance(decision, GiveUp), "the last attempt was not the last"
            assert decision.attempts == self.failures
            self.over = True
            return
        self._again(decision)
        if isinstance(what, RetryLater) and what.after is not None:
            assert self.note.due == self.time + what.after

    @precondition(lambda self: not self.over)
    @rule(seconds=st.floats(0, 10))
    def snooze(self, seconds: float) -> None:
        self._again(self.decide(Snooze(seconds), self.note, self.retry, self.time))
        assert self.note.due == self.time + seconds

    def _again(self, decision: Any) -> None:
        assert isinstance(decision, Again), "it gave up before the last attempt"
        assert decision.note.attempts == self.failures
        assert not decision.note.done
        assert decision.note.due >= self.time
        packed = outcome.pack_notes("event", {"receiver": decision.note})
        self.note = outcome.unpack_notes("event", packed)["receiver"]
        assert self.note == decision.note
        assert outcome.unpack_notes("another event", packed) == {}

    @precondition(lambda self: not self.over)
    @rule()
    def handle(self) -> None:
        assert self.decide(Done(), self.note, self.retry, self.time) == outcome.Finish()
        self.over = True

    @rule(seconds=st.floats(0, 10))
    def sleep(self, seconds: float) -> None:
        self.time += seconds


def test_attempts_are_counted_as_their_model_counts_them() -> None:
    check(Retrying)


def _counting_snoozes(what: Any, note: Note, *arguments: Any) -> Any:
    found = decide(what, note, *arguments)
    if isinstance(what, Snooze) and isinstance(found, Again):
        return Again(dataclasses.replace(found.note, attempts=note.attempts + 1), found.reason)
    return found


def _once_too_often(what: Any, note: Note, retry: Retry, *arguments: Any) -> Any:
    return decide(what, note, dataclasses.replace(retry, attempts=retry.attempts + 1), *arguments)


def _forgetting_attempts(what: Any, note: Note, *arguments: Any) -> Any:
    return decide(what, dataclasses.replace(note, attempts=0) if note.due else note, *arguments)


@pytest.mark.parametrize("wrong", [_counting_snoozes, _once_too_often, _forgetting_attempts])
def test_mistakes_in_counting_attempts_are_found(wrong: Any) -> None:
    with pytest.raises(AssertionError):
        check(Retrying, decide=staticmethod(wrong))


# The inbox: events that are redelivered, late or of another incarnation; commits and rollbacks


class Rollback(Exception):
    pass


class Receiving(RuleBasedStateMachine):
    """Check that an event takes effect if and only if it is newer than all events with effects.

    A transaction that is rolled back has no effect.
    """

    loop: ClassVar[asyncio.AbstractEventLoop]
    database: ClassVar[Database]
    names: ClassVar[Iterator[int]] = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"r{next(self.names)}."
        self.newest: dict[tuple[str, str], tuple[int, int]] = {}

    @rule(
        receiver=st.sampled_from("ab"),
        subject=st.sampled_from("12"),
        incarnation=st.integers(1, 2),
        sequence=st.integers(1, 6),
        commits=st.booleans(),
    )
    def deliver(
        self, receiver: str, subject: str, incarnation: int, sequence: int, commits: bool
    ) -> None:
        event = Envelope(
            "e",
            "accounts",
            "accounts.User",
            "post_save",
            subject,
            "",
            sequence,
            incarnation,
            1,
            None,
            None,
            {},
            b"",
        )
        later = (incarnation, sequence) > self.newest.get((receiver, subject), (0, 0))
        took = self.loop.run_until_complete(self._handle(self.prefix + receiver, event, commits))
        assert took == later
        if took and commits:
            self.newest[receiver, subject] = (incarnation, sequence)

    async def _handle(self, receiver: str, event: Envelope, commits: bool) -> bool:
        took = False
        try:
            async with self.database.transaction():
                took = await inbox.advance(self.database, receiver, event)
                if not commits:
                    raise Rollback
        except Rollback:
            pass
        return took


@pytest.fixture
def partition(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A loop and a SQLite file, which all runs of a machine share under names of their own."""
    loop = asyncio.new_event_loop()
    database = Database(f"sqlite:///{tmp_path / 'inbox.sqlite'}")
    loop.run_until_complete(database.connect())
    loop.run_until_complete(database.create_tables(inbox.metadata))
    yield {"loop": loop, "database": database}
    loop.run_until_complete(database.disconnect())
    loop.close()


def _machine(partition: dict[str, Any]) -> type[RuleBasedStateMachine]:
    return type("Receiving", (Receiving,), partition)


def test_the_inbox_does_what_its_model_does(partition: dict[str, Any]) -> None:
    check(_machine(partition))


def _statement(where: Any) -> Executable:
    """The compare-and-set with another comparison."""
    offered = sqlite.insert(inbox.inbox)
    new, old = offered.excluded, inbox.inbox.c
    keys = [old.receiver, old.source, old.model, old.subject]
    values = {"incarnation": new.incarnation, "sequence": new.sequence, "handled": new.handled}
    condition = None if where is None else where(new, old)
    return offered.on_conflict_do_update(
        index_elements=keys, set_=values, where=condition
    ).returning(old.sequence)


@pytest.mark.parametrize(
    "where",
    [
        None,
        lambda new, old: old.sequence < new.sequence,
        lambda new, old: or_(old.incarnation < new.incarnation, old.sequence < new.sequence),
        lambda new, old: or_(old.incarnation < new.incarnation, old.sequence <= new.sequence),
        lambda new, old: old.incarnation <= new.incarnation,
    ],
    ids=["nothing", "the number only", "either", "or the same", "the incarnation only"],
)
def test_mistakes_in_comparing_are_found(
    partition: dict[str, Any], monkeypatch: pytest.MonkeyPatch, where: Any
) -> None:
    monkeypatch.setattr(inbox, "_compare_and_set", lambda dialect: _statement(where))
    with pytest.raises(AssertionError):
        check(_machine(partition), loop=partition["loop"])
