"""Fetch entries under the lease, and turn each entry into jobs in lanes.

Order of a row: entries are read in order, and unfinished entries of earlier owners come before new
entries. If the answer to a read is lost, nobody knows which entries the read has taken. The tenure
ends then, and the next tenure begins with the entries that this tenure left unfinished.
"""

import asyncio
from collections.abc import Sequence

from edgy_bus import telemetry
from edgy_bus.brokers.base import START, Entry, EntryId, Fetched
from edgy_bus.codec import Envelope, unpack
from edgy_bus.errors import BrokerNotReady, BrokerUnavailable, EventError, LeaseLost
from edgy_bus.reasons import bounded, describe
from edgy_bus.runtime.detours import Detours
from edgy_bus.runtime.in_hand import InHand
from edgy_bus.runtime.jobs import NOTHING, STREAM, Foreign, Handling, Job
from edgy_bus.runtime.outcome import Note, unpack_notes
from edgy_bus.runtime.scheduling import Scheduler
from edgy_bus.runtime.subscriptions import Subscription
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools
from edgy_bus.services import happens
from edgy_bus.telemetry import catalogue

_LONGEST_WAIT = 60.0
"""Seconds between two reads of a stream at rest, if the bell rings for nothing."""

_SLOW = 1.0
"""Seconds after which a read was too large for the way to the broker."""

_FIRST_PAUSE = 0.05

_RETURN = 0.5
"""Seconds between two reads of a stream at rest while a receiver is to come back."""


class Intake:
    """Read a partition for as long as its tenure lasts.

    Attributes:
        caught_up: whether a receiver that was set aside has finished its own group.
        position: where the stream was read up to, while the intake waits for news; None otherwise.
    """

    def __init__(
        self,
        term: Term,
        tools: Tools,
        in_hand: InHand,
        scheduler: Scheduler,
        detours: Detours,
    ) -> None:
        self.caught_up = False
        self.position: EntryId | None = None
        self._attendance = detours.attendance
        self._detours = detours
        self._term = term
        self._broker = tools.broker
        self._subscriptions = tools.subscriptions
        self._stats = tools.stats
        self._signer = tools.signer
        self._idle = tools.idle
        self._load = tools.load
        self._portion = tools.portion
        self._first_wait = self._next_wait = tools.settings.block * 2
        self._longest_pause = tools.settings.backoff
        self._return_pause = _FIRST_PAUSE
        self._in_hand = in_hand
        self._lanes = in_hand.lanes
        self._scheduler = scheduler
        self._partition = term.lease.partition
        self._only = term.lease.receiver
        self._keeps_order = self._partition.ordered
        self._course = tools.window.course(term.lease)
        self._news = asyncio.Event()
        self._read_up_to = START

    def wake(self) -> None:
        """Read again: there may be news."""
        self.position = None
        self._news.set()

    def stop(self) -> None:
        """Make `run` return."""
        self._news.set()
        self._in_hand.stop()

    async def begin(self) -> None:
        """Arrange the receivers, and learn which rows they hold, before the first read.

        Raises:
            BrokerUnavailable: the tenure cannot begin.
            LeaseLost: when the broker refuses the lease.
        """
        await self._arrange()
        await self._detours.load()

    async def _arrange(self) -> bool:
        """Arrange the receivers; return whether receivers have come back."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._attendance.arrange()
            except BrokerUnavailable:
                # Safe to repeat, whether the call took effect or not.
                if await self._term.pause(pause):
                    raise
                pause = min(self._longest_pause, pause * 2)

    async def _arrange_again(self) -> bool:
        """Arrange the receivers anew; False if the tenure has to end."""
        try:
            if await self._arrange():
                # Before the first event of a receiver that has come back: its row may be held.
                await self._detours.load()
        except BrokerUnavailable as error:
            self._doubt(str(error))
            return False
        return True

    async def run(self) -> None:
        """Read until the tenure stops, or until the answer to a read is lost.

        Raises:
            LeaseLost: when the broker refuses the lease, or was rolled back.
        """
        # Once all entries of earlier owners are taken over, none can follow: the broker refuses a
        # read without `inherit` if it finds some. They came back with an older copy of the stream.
        inherit, after = True, START
        while not self._term.stopping:
            if self._attendance.is_due:
                if not await self._arrange_again():
                    return
                continue
            if not self._attendance.may_read():
                await self._term.pause(_FIRST_PAUSE)
                continue
            # Before the read: news that arrive during the read must wake the wait after it.
            self._news.clear()
            fetched = await self._fetch(inherit=inherit, after=after)
            if fetched is None:
                return
            if fetched.ended:
                self.caught_up = True
                return
            self._check(fetched)
            inherit, after = inherit and fetched.inherited, fetched.position
            for entry in fetched.entries:
                self._admit(entry)
            self._scheduler.pump()
            if fetched.more and not fetched.entries:
                await self._wait_for_return()
                continue
            self._return_pause = _FIRST_PAUSE
            if _is_at_rest(fetched):
                await self._wait_for_news(fetched.position)

    async def _fetch(self, *, inherit: bool, after: EntryId) -> Fetched | None:
        """Read a page; return None if the answer was lost, or the tenure stopped before."""
        pause = _FIRST_PAUSE
        while not self._term.stopping:
            try:
                return await self._read(inherit=inherit, after=after)
            except BrokerNotReady:
                # The read has taken nothing, and is repeated as it was. The consumer's rounds meet
                # the same trouble and report it.
                await self._term.pause(pause)
                pause = min(self._longest_pause, pause * 2)
            except BrokerUnavailable as error:
                # The read may have taken entries that this tenure does not know. A second read
                # would bring later entries of the same rows, so only the end of the tenure keeps
                # the order. The next tenure reads the same entries: fewer may come in time.
                self._portion.went_badly()
                self._doubt(str(error))
                return None
        return None

    async def _read(self, *, inherit: bool, after: EntryId) -> Fetched | None:
        """Read once, when there is room; None if the tenure stops before."""
        size = await self._in_hand.reserve()
        if not size:
            return None
        lease, room = self._term.lease, self._in_hand.room()
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            fetched = await self._broker.fetch(
                lease, room, inherit=inherit, after=after, most_bytes=size
            )
        finally:
            self._load.release(size)
        if loop.time() - began > _SLOW:
            self._portion.went_badly()
        else:
            self._portion.went_well()
        return fetched

    def _check(self, fetched: Fetched) -> None:
        """Report missing entries, and end the tenure if the broker was rolled back."""
        if fetched.missing:
            telemetry.emit(
                catalogue.EntriesMissing(
                    group=self._term.group,
                    partition=str(self._partition),
                    count=len(fetched.missing),
                )
            )
        if not fetched.entries:
            return
        if fetched.entries[0].id <= self._read_up_to:
            # The server gives ids of entries out again, to other events. An acknowledgement that
            # this tenure owes for the lost entry would settle the new one without a call.
            self._doubt("the stream was rolled back")
            raise LeaseLost(f"{self._partition} was rolled back while {self._term.group} held it")
        self._read_up_to = fetched.entries[-1].id

    def _doubt(self, error: str) -> None:
        telemetry.emit(
            catalogue.TenureInDoubt(
                partition=str(self._partition), group=self._term.group, error=error
            )
        )

    async def _wait_for_return(self) -> None:
        """Wait a moment, because the receiver whose group is read has to come back first."""
        # Without the bell, which would ring at once for the entries that are not to be read. Soon
        # at first: the group of all stands still for a moment only, so that the receiver can come
        # back. Later less often: the receiver may have a call of hours.
        await self._term.pause(self._return_pause)
        self._return_pause = min(_RETURN, self._return_pause * 2)

    async def _wait_for_news(self, position: EntryId) -> None:
        self.position = position
        self._idle(self._partition, position)
        # The bell may miss news: a stream may have been replaced by another stream, whose entries
        # have smaller ids than `position`. So the wait has a limit, which grows while nothing
        # comes: a process may have hundreds of streams at rest.
        # The return of a receiver rings no bell.
        wait = _RETURN if self._attendance.may_change else self._next_wait
        if await happens(self._news, wait):
            self._next_wait = self._first_wait
        else:
            self._next_wait = min(_LONGEST_WAIT, self._next_wait * 2)
        self.position = None

    # Entries become jobs

    def _admit(self, entry: Entry) -> None:
        """Make a job for each receiver that has not finished with the entry."""
        handling = _handling_of(entry, self._only)
        try:
            envelope = self._unpack(entry)
        except Exception as error:  # noqa: BLE001 - nothing on a stream may end a tenure
            self._admit_foreign(handling, error)
            return
        if self._keeps_order:
            handling.row = envelope.subject
        may_skip = self._course.may_skip(envelope.sequence, envelope.subject)
        handling.left_out = self._attendance.left_out(entry.id)
        subscriptions = self._subscriptions.of(envelope.model, envelope.signal)
        if handling.left_out:
            subscriptions = [each for each in subscriptions if each.name not in handling.left_out]
        if envelope.to is not None:
            subscriptions = _addressed(subscriptions, envelope.to)
        share = handling.size // max(1, len(subscriptions))
        has_skipped = False
        for subscription in subscriptions:
            if handling.notes and handling.notes.get(subscription.name, NOTHING).done:
                continue
            if may_skip and self._skip(handling, envelope, subscription):
                has_skipped = True
                continue
            handling.unfinished += 1
            options = subscription.receiver.options
            is_plain = entry.deliveries <= 1 and options.batch is None
            row = handling.row if options.ordered else None
            lane = _alone(entry) if row is None else row
            job = Job(handling, envelope, subscription, share, is_plain)
            self._lanes.add((lane, subscription.name), job)
        # Also if other receivers are left: later events of the row may be reported from here on.
        # After a crash, this event would come again alone, and leave a receiver with an older row.
        if has_skipped or not handling.unfinished:
            self._in_hand.acknowledger.owe(handling)

    def _unpack(self, entry: Entry) -> Envelope:
        """Return the event of an entry. Raises `EventError` for an entry that is no such event."""
        if self._signer is not None:
            self._signer.check(self._partition, entry.fields)
        envelope = unpack(entry.fields)
        if envelope.model != self._partition.model:
            raise EventError(f"an event of {envelope.model} does not belong on this stream")
        return envelope

    def _skip(self, handling: Handling, envelope: Envelope, subscription: Subscription) -> bool:
        """Skip an ordinary repeat, whose acknowledgement got lost; return whether it was one."""
        # An inbox knows repeats better than this process, also after its database was restored.
        if subscription.receiver.options.inbox is not None:
            return False
        if not self._course.has_finished(envelope.id, subscription.name):
            self._course.repeat(envelope.subject)
            return False
        self._stats.skipped += 1
        handling.notes[subscription.name] = Note(done=True)
        return True

    def _admit_foreign(self, handling: Handling, error: Exception) -> None:
        """Make a job of an entry that is not an event, which puts it into the dead letters.

        In a lane like other jobs: a broker that cannot take dead letters must not fill this
        process's memory with such entries.
        """
        handling.left_out = self._attendance.left_out(handling.entry.id)
        if self._only:
            # The tenure of the whole group keeps the entry, once for all receivers.
            self._in_hand.acknowledger.owe(handling)
            return
        reason = str(error) if isinstance(error, EventError) else describe(error)
        handling.unfinished = 1
        self._lanes.add((_alone(handling.entry), STREAM), Foreign(handling, bounded(reason)))


def _is_at_rest(fetched: Fetched) -> bool:
    """Return whether the next read should wait until the bell rings.

    Events that come one by one need a single read each. Several at once come from a busy stream,
    where a read costs less than another ring.
    """
    return not fetched.inherited and not fetched.more and len(fetched.entries) <= 1


def _handling_of(entry: Entry, only: str) -> Handling:
    """Return an entry in hand, with what earlier owners have noted about its receivers.

    `only` is the receiver whose own group is read; empty for the group of all.
    """
    handling = Handling(entry, {}, size=sum(map(len, entry.fields.values())))
    if entry.notes:
        notes = unpack_notes(handling.event_id, entry.notes)
        # A receiver that is set aside takes its own note along; the proofs that other notes name
        # are not in its own group.
        handling.notes = {name: notes[name] for name in notes if only in ("", name)}
    for name in entry.kept:
        attempts = handling.notes.get(name, NOTHING).attempts
        handling.notes[name] = Note(attempts, done=True, kept=True)
    return handling


def _addressed(subscriptions: Sequence[Subscription], address: str) -> list[Subscription]:
    """Return the receiver to which an event is addressed, as GROUP/RECEIVER.

    All other receivers and groups are done with the entry, without a call.
    """
    return [each for each in subscriptions if address == f"{each.group}/{each.name}"]


def _alone(entry: Entry) -> str:
    """Return a lane key of its own for an entry without a row."""
    return f"\0{entry.id}"
