"""Plant bugs: each bug removes a mechanism.

The simulation must find every bug. A bug that stays hidden shows that the simulation does not check
the purpose of the mechanism.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from edgy_bus.brokers.base import START, EntryId, Fetched, HeldState, Lease, RowKey, StreamHead
from edgy_bus.database.backends.base import Result
from edgy_bus.errors import BrokerNotReady, BrokerUnavailable
from edgy_bus.events import Partition
from edgy_bus.outbox import relay as relay_module
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.packing import Packer
from edgy_bus.outbox.publishing import Publisher
from edgy_bus.outbox.relay import Relay
from edgy_bus.outbox.repairing import Repairer
from edgy_bus.outbox.store import Chunk, PageSize, Pending, Recognised, Standing
from edgy_bus.outbox.tidying import Progress, Tidier
from edgy_bus.runtime.attempts import Attempts
from edgy_bus.runtime.detours import Detours
from edgy_bus.runtime.intake import Intake
from edgy_bus.runtime.jobs import Handling
from edgy_bus.runtime.lanes import Lane, Lanes
from edgy_bus.runtime.outcome import Done
from edgy_bus.runtime.pruning import Bounds, InboxPruner, cutoff
from edgy_bus.runtime.releases import Releases
from edgy_bus.runtime.scheduling import Scheduler
from edgy_bus.runtime.tenure import Tenure
from edgy_bus.runtime.verdicts import Verdicts
from tests.simulation import world
from tests.simulation.arrival_bugs import PATCHES
from tests.simulation.arrivals import Arrivals
from tests.simulation.aside_bugs import ASIDE_FAULTS
from tests.simulation.aside_bugs import BROKERS as ASIDE_BROKERS
from tests.simulation.aside_bugs import PATCHES as ASIDE
from tests.simulation.broker import Network, Redis
from tests.simulation.broker_bugs import (
    FetchWithoutLease,
    GroupsBeginAtTheEnd,
    LargeEntriesLeftUnread,
    LeasesNeedRoom,
    LossNotNoticed,
    NewBeforeInherited,
    NewestParkedFirst,
    NotesNeedRoom,
    NothingInherited,
    NumbersNoWrites,
    ParkedEventsDropped,
    ParksBehindNothing,
    PublishComparesNothing,
    SkippedEventsDropped,
    UnfinishedForgotten,
)
from tests.simulation.database import Effect, Inbox, Store
from tests.simulation.lease_bugs import KEEPER, LEASE_FAULTS
from tests.simulation.programs import Programs
from tests.simulation.world import Parts, World, simulate

LOSSES = ("flush", "failover", "delete stream", "delete epoch")
DEATHS = ("kill", "pause", "network", "outage")
KEPT = (*DEATHS, "full", "process clock", "database")
"""Faults by which Redis loses nothing."""

FORGETS_AFTER = 1.0
"""Seconds after which positions of an inbox are forgotten, in runs without losses."""


@dataclass(frozen=True)
class Bug:
    """What is taken out, and the kinds of faults under which it matters."""

    parts: Parts
    patches: Sequence[tuple[Any, str, Any]] = field(default_factory=tuple)
    world: type[World] = World

    @contextmanager
    def planted(self) -> Iterator[Parts]:
        with contextmanager(self._patched)():
            yield self.parts

    def _patched(self) -> Iterator[None]:
        patches = [mock.patch.object(*one) for one in self.patches]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in patches:
                patch.stop()


# The relay


class MarksFirst(Publisher):
    async def _append_all(self, page: Any, partition: Partition, pending: Pending) -> None:
        head = pending.head or StreamHead()
        entries = [EntryId(head.entry.ms, head.entry.seq + 1)] * len(pending.rows)
        placed = Placed([row.id for row in pending.rows], entries)
        await self._store.mark([Chunk(partition, head, head, placed)])
        await super()._append_all(page, partition, pending)


class HeadsReadLast(Store):
    async def pending(
        self, size: PageSize, avoiding: Collection[Partition] = ()
    ) -> dict[Partition, Pending]:
        page = await super().pending(size, avoiding)
        return _with_heads(page, await self.heads())


class HeadsReadFirst(Store):
    async def pending(
        self, size: PageSize, avoiding: Collection[Partition] = ()
    ) -> dict[Partition, Pending]:
        heads = await self.heads()
        # Longer than the lease: two relays stand in the gap, and one failover is enough.
        await asyncio.sleep(4.0)
        return _with_heads(await super().pending(size, avoiding), heads)


def _with_heads(
    page: Mapping[Partition, Pending], heads: Mapping[Partition, StreamHead]
) -> dict[Partition, Pending]:
    return {
        partition: Pending(heads.get(partition), pending.incarnations, pending.rows)
        for partition, pending in page.items()
    }


class GoesOnAfterRefusal(Publisher):
    async def _append_all(self, page: Any, partition: Partition, pending: Pending) -> None:
        head, packer = pending.head or StreamHead(), Packer(partition, self._service, None)
        for row in pending.rows:
            wire = packer.wire(pending.incarnations, row)
            entries = await self._broker.publish(partition, head, [wire])
            if entries is None:
                await self._repair(partition, head)
                head = (await self._store.heads())[partition]
                continue
            new = StreamHead(head.epoch, entries[0], row.event_id)
            await page.appended.put(Chunk(partition, head, new, Placed([row.id], entries)))
            head = new

    async def _repair(self, partition: Partition, head: StreamHead) -> None:
        state = await self._broker.inspect(partition, head, secrets.token_hex(8))
        recognised = await self._store.repairs.recognise(state.behind)
        await self._store.repairs.resynchronise(partition, head, state.head, [recognised])


class NeverLooksAgain(Repairer):
    async def look_at(self, partition: Partition, head: StreamHead) -> bool:
        return True


class TrimsForThoseWhoAreThere(Tidier):
    async def _trim(
        self, partition: Partition, standing: Standing, progress: Progress, groups: set[str]
    ) -> None:
        await super()._trim(partition, standing, progress, set(progress))


# The database


class MarkComparesNothing(Store):
    def _move(self, partition: Partition, old: StreamHead, new: StreamHead) -> bool:
        self._db.streams[partition].head = new
        return True


class MarkMovesTheHeadOnly(Store):
    async def mark(self, marked: Sequence[Chunk]) -> list[bool]:
        return await super().mark([one._replace(placed=Placed([], [])) for one in marked])


class FoundNotMarked(Store):
    def _resynchronise(
        self, partition: Partition, old: StreamHead, new: StreamHead, found: Sequence[Recognised]
    ) -> bool:
        del found
        return super()._resynchronise(partition, old, new, [])


class LostNotPending(Store):
    def _resynchronise(
        self, partition: Partition, old: StreamHead, new: StreamHead, found: Sequence[Recognised]
    ) -> bool:
        before = {row.id: (row.status, row.entry) for row in self._published(partition)}
        done = super()._resynchronise(partition, old, new, found)
        for number, (status, entry) in before.items():
            row = self._db.rows[number]
            row.status, row.entry = max(row.status, status), row.entry or entry
        return done


class ConfirmedKept(Store):
    def _resynchronise(
        self, partition: Partition, old: StreamHead, new: StreamHead, found: Sequence[Recognised]
    ) -> bool:
        kept = self._db.streams[partition].confirmed
        done = super()._resynchronise(partition, old, new, found)
        self._db.streams[partition].confirmed = kept
        return done


class OlderCopyAlone(Store):
    def _send_again_behind(self, partition: Partition, newest: Mapping[str, int]) -> None:
        del partition, newest


class ReadsByCursor(Store):
    _last = 0

    def pending_rows(self) -> list[Any]:
        rows = [row for row in super().pending_rows() if row.id > self._last]
        self._last = max((row.id for row in rows), default=self._last)
        return rows


class PrunesPending(Store):
    async def prune(self, retention: float) -> int:
        for row in list(self._db.rows.values()):
            if row.status == 0:
                del self._db.rows[row.id]
        return 0


class InboxComparesNothing(Inbox):
    async def run(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Result:
        await super().run(statement, parameters)
        return Result([{"sequence": 0}], 1)


class InboxOutsideTheTransaction(Inbox):
    async def run(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Result:
        found = await super().run(statement, parameters)
        given = dict(parameters or {})
        key = tuple(str(given[name]) for name in ("receiver", "source", "model", "subject"))
        if found.rows:
            self.tables.positions[key] = (given["incarnation"], given["sequence"])
        return found


class EffectsOutsideTheTransaction(Inbox):
    def write(self, receiver: str, effect: Effect) -> None:
        self.tables.effects.setdefault(receiver, []).append(effect)


class IgnoresWhatIsUnfinished(InboxPruner):
    async def _bounds(self, model: str, declared: Mapping[str, int], now: int) -> Bounds:
        return Bounds(cutoff(now, None, self._retention))


class LooksAtOnePartition(InboxPruner):
    async def _bounds(self, model: str, declared: Mapping[str, int], now: int) -> Bounds:
        return await super()._bounds(model, {model: 1}, now)


# The runtime


_numbers = itertools.count()
_add = Lanes.add
_change = Releases._change
_block = Lanes.block
_admit = Intake._admit
_tenure = Tenure.__init__
_conclude = Scheduler._conclude
_call = Network.call
_make_call = Scheduler._make_call
_relay_step = Relay.step


def _a_lane_for_every_job(self: Any, key: tuple[str, str], job: Any) -> None:
    _add(self, (f"{key[0]}/{next(_numbers)}", key[1]), job)


def _next_goes_first(self: Any, lane: Lane[Any]) -> None:
    """While the first job waits for its retry, the next one takes its place."""
    if len(lane.jobs) > 1:
        lane.jobs.rotate(-1)
    _block(self, lane)


def _acknowledged_on_arrival(self: Any, entry: Any) -> None:
    _admit(self, entry)
    settling = self._broker.settle(self._term.lease, [entry.id])
    self._scheduler._calls.start(settling)


def _next_in_batch_goes_first(
    self: Any, lane: Lane[Any], job: Any, outcome: Any, *, shared: bool = False
) -> None:
    """While an event of a batch that failed waits, the next one of its row takes its place."""
    again = not isinstance(outcome, Done) and job.subscription.receiver.options.batch is not None
    _conclude(self, lane, job, outcome, shared=shared)
    if again and len(lane.jobs) > 1:
        lane.jobs.rotate(-1)


def _not_parked(self: Any, job: Any) -> bool:
    return False


async def _nothing_known(self: Any) -> None:
    return None


async def _nothing_counted(self: Any, jobs: Any) -> bool:
    return True


async def _publishes_or_nothing(self: Any) -> bool:
    """Do not trim after a page that was refused: the error of the first page ends the step."""
    await self.publisher.step()
    return await _relay_step(self)


def _never_dropped(self: Any) -> None:
    return None


async def _held_without_attempts(self: Any, row: RowKey, state: HeldState) -> None:
    await _change(self, row, state._replace(attempts=0))


async def _nothing_buried(self: Any, handling: Handling, receiver: str, decision: Any) -> None:
    return None


def _never_ends(self: Any, lease: Lease, valid_until: float, tools: Any) -> None:
    _tenure(self, lease, valid_until + 1e6, tools)
    self._term.refuse = lambda: None


async def _no_doubts(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    try:
        return await _call(self, name, *args, **kwargs)
    except BrokerUnavailable:
        if name != "fetch":
            raise
        return Fetched([], False, START)


async def _never_in_doubt(self: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    try:
        return await _call(self, name, *args, **kwargs)
    except BrokerUnavailable as error:
        raise BrokerNotReady(str(error)) from error


RUNS = 300
"""How many seeds a search for a planted bug tries. A few bugs show in one run of eighty."""


def find(name: str, first: int | None = None) -> int | None:
    """Return a seed that finds a planted bug, or None after `RUNS` seeds.

    Args:
        name: the name of the bug.
        first: the seed to try first.
    """
    bug = BUGS[name]
    seeds = (*([] if first is None else [first]), *range(RUNS))
    with bug.planted() as parts:
        outcomes = (simulate(seed, parts, kind=bug.world) for seed in seeds)
        return next((outcome.seed for outcome in outcomes if outcome.report.faults), None)


def _redis(kind: type[Redis], *faults: str) -> Bug:
    return Bug(Parts(redis=kind, faults=faults or None))


def _relay(part: str, kind: type[Publisher | Repairer | Tidier], *faults: str) -> Bug:
    return Bug(Parts(faults=faults or None), [(relay_module, part, kind)])


def _store(kind: type[Store], *faults: str) -> Bug:
    return Bug(Parts(store=kind, faults=faults or None))


def _inbox(kind: type[Inbox], *faults: str) -> Bug:
    return Bug(Parts(inbox=kind, faults=faults or None))


def _forgetting(kind: type[InboxPruner]) -> Bug:
    parts = Parts(forgets_after=FORGETS_AFTER, faults=KEPT)
    return Bug(parts, [(world, "InboxPruner", kind)])


def _runtime(partition: Any, name: str, other: Callable[..., Any], *faults: str) -> Bug:
    return Bug(Parts(faults=faults or None), [(partition, name, other)])


BUGS: dict[str, Bug] = {
    "publish compares nothing": _redis(PublishComparesNothing, *DEATHS),
    "fetch does not check the lease": _redis(FetchWithoutLease, "pause", "network", "kill"),
    "nothing is inherited": _redis(NothingInherited, *DEATHS),
    "what is new comes before what is inherited": _redis(NewBeforeInherited, *DEATHS),
    "groups begin at the end": _redis(GroupsBeginAtTheEnd, *LOSSES),
    "unfinished entries are trimmed": _redis(UnfinishedForgotten, *DEATHS),
    "a loss is not noticed": _redis(LossNotNoticed, "failover", "delete stream"),
    "rows are marked first": _relay("Publisher", MarksFirst, *DEATHS),
    "heads are read after the rows": _store(HeadsReadLast, "pause"),
    "heads are read before the rows": _store(HeadsReadFirst, "failover"),
    "a relay goes on after a refusal": _relay("Publisher", GoesOnAfterRefusal, *DEATHS, *LOSSES),
    "streams are never looked at again": _relay(
        "Repairer", NeverLooksAgain, "flush", "delete stream"
    ),
    "groups that are lost do not hold trimming up": _relay(
        "Tidier", TrimsForThoseWhoAreThere, *LOSSES, "destroy group", "pause"
    ),
    "a mark compares nothing": _store(MarkComparesNothing, "network", "flush"),
    "a mark moves the head only": _store(MarkMovesTheHeadOnly, "kill"),
    "what is found is not marked": _store(FoundNotMarked, *DEATHS),
    "what is lost is not pending again": _store(LostNotPending, *LOSSES),
    "what was confirmed outlives its stream": _store(
        ConfirmedKept, "delete stream", "server clock", "flush"
    ),
    "an older copy comes back without what followed": _store(OlderCopyAlone, "snapshot"),
    "the outbox is read by a cursor": _store(ReadsByCursor, "kill"),
    "pending rows are pruned": _store(PrunesPending, "kill", "outage"),
    "the inbox compares nothing": _inbox(InboxComparesNothing, *DEATHS),
    "the inbox is outside the transaction": _inbox(InboxOutsideTheTransaction, "kill"),
    "effects are outside the transaction": _inbox(EffectsOutsideTheTransaction, "kill"),
    "positions are forgotten while entries are unfinished": _forgetting(IgnoresWhatIsUnfinished),
    "unfinished entries of one partition keep positions": _forgetting(LooksAtOnePartition),
    "every job has a lane": _runtime(Lanes, "add", _a_lane_for_every_job, "kill"),
    "a retry lets the next event pass": _runtime(Lanes, "block", _next_goes_first, "kill"),
    "entries are acknowledged on arrival": _runtime(
        Intake, "_admit", _acknowledged_on_arrival, "kill"
    ),
    "dead letters are dropped": _runtime(Verdicts, "_bury", _nothing_buried, "kill"),
    "a tenure outlives its lease": _runtime(Tenure, "__init__", _never_ends, "pause", "network"),
    "a lost answer to a fetch is not a doubt": _runtime(Network, "call", _no_doubts, "network"),
    "a lost answer is taken for a refusal": _runtime(Network, "call", _never_in_doubt, "network"),
    "a held row's next event is handled": _runtime(Scheduler, "_must_park", _not_parked, "kill"),
    "the next owner does not know what is held": _runtime(Detours, "load", _nothing_known, "kill"),
    "a tenure goes on with an older copy": _redis(NumbersNoWrites, "snapshot", "kill"),
    "parked events are dropped": _redis(ParkedEventsDropped, "kill"),
    "parked events are handled newest first": _redis(NewestParkedFirst, "kill"),
    "events that are left out are dropped": _redis(SkippedEventsDropped, "kill"),
    "events are parked though nothing is held": _redis(ParksBehindNothing, "kill"),
    "an event of a batch that failed lets the next one of its row pass": _runtime(
        Scheduler, "_conclude", _next_in_batch_goes_first, "kill"
    ),
    "attempts are not counted before they are made": _runtime(
        Attempts, "count", _nothing_counted, "kill"
    ),
    "attempts at parked events are not counted": _runtime(
        Releases, "_change", _held_without_attempts, "kill"
    ),
    "a relay that cannot publish does not trim": _runtime(
        Relay, "step", _publishes_or_nothing, "kill", "full restart"
    ),
    "attempts are not counted on a full server": _redis(NotesNeedRoom, "kill", "full restart"),
    "leases are not taken on a full server": _redis(LeasesNeedRoom, "kill", "full restart"),
    "large events are not read": _redis(LargeEntriesLeftUnread, "kill"),
    "the bytes of a tenure that has ended stay counted": _runtime(
        Lanes, "drop", _never_dropped, "pause", "network"
    ),
    "ids are drawn before the row is locked": Bug(Parts(locked_ids=False, faults=("kill",))),
    **{
        name: Bug(Parts(faults=("block", *LEASE_FAULTS.get(name, ()))), [patch])
        for name, patch in KEEPER.items()
    },
    **{name: Bug(Parts(), [patch], Arrivals) for name, patch in PATCHES.items()},
    **{
        name: Bug(Parts(redis=kind, faults=ASIDE_FAULTS.get(name, DEATHS)), world=Programs)
        for name, kind in ASIDE_BROKERS.items()
    },
    **{name: Bug(Parts(faults=DEATHS), [patch], Programs) for name, patch in ASIDE.items()},
}
