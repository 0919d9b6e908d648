"""Receivers that are set aside in memory: groups of their own."""

from collections.abc import Collection, Mapping, Sequence

from edgy_bus.brokers.base import (
    START,
    Arrangement,
    Aside,
    EntryId,
    Kept,
    Lease,
    Listed,
    SettingAside,
)
from edgy_bus.brokers.base.rostering import NEW_GROUP
from edgy_bus.brokers.base.setting_aside import BEHIND, MISSING, MOVED, NEAR, has_finished
from edgy_bus.brokers.memory.core import MemoryCore
from edgy_bus.brokers.memory.state import Attendance, Group, Stream
from edgy_bus.events import Partition


class MemorySettingAside(MemoryCore, SettingAside):
    """Set receivers aside, and bring them back."""

    async def arrange(
        self,
        lease: Lease,
        taking_part: Mapping[str, Listed],
        left_out: Mapping[str, Listed],
        forgotten: Collection[str] = (),
        *,
        sets_aside: bool = True,
        reasons: Mapping[str, str] | None = None,
    ) -> Arrangement:
        stream, group = self._owned(lease)
        group.come_back()
        step = self._step(lease, stream, group, sets_aside=sets_aside)
        for name, listed in taking_part.items():
            step.take_part(name, listed)
        for name, listed in left_out.items():
            step.leave_out(name, listed, (reasons or {}).get(name, MISSING))
        for name in forgotten:
            step.drop(name)
        # Another program may have had a receiver whose name the caller has never heard.
        mentioned = {*taking_part, *left_out, *forgotten}
        for name in step.attendance.floors.keys() - mentioned:
            step.leave_out(name, None, MISSING)
        step.establish()
        step.move()
        if step.changed:
            self._wrote(lease, group)
        return step.answer()

    def _step(self, lease: Lease, stream: Stream, group: Group, *, sets_aside: bool) -> "Step":
        return Step(lease, stream, group, self._clock(), sets_aside=sets_aside)

    async def asides(
        self, partitions: Sequence[Partition], group: str
    ) -> Mapping[Partition, Mapping[str, Aside]]:
        attendances = {each: self._streams[each].attendances[group] for each in partitions}
        return {
            partition: {
                name: Aside(each.entry, each.since, each.reason, name not in attendance.moving)
                for name, each in attendance.asides.items()
            }
            for partition, attendance in attendances.items()
            if attendance.asides
        }

    async def strangers_to(
        self, partitions: Sequence[Partition], group: str, receiver: str
    ) -> list[Partition]:
        attendances = {each: self._streams[each].attendances[group] for each in partitions}
        return [
            partition
            for partition, each in attendances.items()
            if each.established is not None and receiver not in {*each.floors, *each.asides}
        ]


class Step:
    """Arrange the receivers of a group at a stream, as `arrange.lua` does.

    Attributes:
        attendance: the receivers.
        changed: whether the step has changed anything.
    """

    def __init__(
        self,
        lease: Lease,
        stream: Stream,
        group: Group,
        now: float,
        *,
        sets_aside: bool,
    ) -> None:
        self.attendance: Attendance = stream.attendances[lease.group]
        self.changed = False
        self._lease = lease
        self._stream = stream
        self._group = group
        self._now = now
        self._sets_aside = sets_aside
        self._set_aside: list[str] = []
        self._returned: list[str] = []
        self._dropped: dict[str, int | None] = {}
        self._near = False

    def take_part(self, name: str, listed: Listed) -> None:
        """Let a receiver take part, or bring the receiver back."""
        attendance, position = self.attendance, self._group.position
        if name in attendance.asides:
            self._bring_back(name)
        elif name in attendance.floors or not self._sets_aside:
            return
        elif attendance.established is None:
            self._be_here(name, START)
        elif not self._begins_with_kept(listed):
            self._be_here(name, position)
        elif position == START:
            self._be_here(name, START)
        else:
            self._put(name, START, BEHIND)
            attendance.due.add(name)

    def leave_out(self, name: str, listed: Listed | None, reason: str) -> None:
        """Set a receiver aside; None for a receiver that takes part until now."""
        attendance, position = self.attendance, self._group.position
        if name in attendance.asides:
            self.changed = self.changed or name in attendance.due
            attendance.due.discard(name)
        elif not self._sets_aside:
            return
        # All receivers of a first arrangement were there before.
        elif listed is None or name in attendance.floors or attendance.established is None:
            floor = attendance.floor(name, self._lease.epoch)
            # A receiver that came back may have finished more than its group has read.
            self._put(name, max(position, floor), reason)
            attendance.moving[name] = floor
        else:
            begins = START if self._begins_with_kept(listed) else position
            self._put(name, begins, reason)

    def drop(self, name: str) -> None:
        """Remove a forgotten receiver."""
        if name in self.attendance.asides:
            group = self._own(name)
            entries = self._stream.entries
            unread = 0 if group is None else sum(entry > group.position for entry in entries)
            self._dropped[name] = None if group is None else len(group.pending) + unread
            self._remove(name)
        # Also a receiver that takes part: it may subscribe to nothing of the stream any more.
        self.changed = self.attendance.floors.pop(name, None) is not None or self.changed

    def establish(self) -> None:
        """Record the first arrangement."""
        if self.attendance.established is None and self._sets_aside:
            self.attendance.established = self._now
            self.changed = True

    def move(self) -> None:
        """Move a page of the unfinished entries of one receiver to the receiver's own group."""
        name = next(iter(self.attendance.moving), None)
        if name is None:
            return
        self.changed = True
        after = self.attendance.moving[name]
        if self._own(name) is None:
            # The own group was deleted while nobody could read it. What was moved moves again.
            self._stream.groups[self._role(name)] = Group(position=self._group.position)
            after = START
        # In order, so that the last entry tells what was moved.
        page = [entry for entry in sorted(self._group.pending) if entry > after][:MOVED]
        for entry in page:
            self._move_one(name, entry)
        if len(page) < MOVED:
            del self.attendance.moving[name]
        else:
            self.attendance.moving[name] = page[-1]

    def answer(self) -> Arrangement:
        """Return what the caller learns."""
        attendance = self.attendance
        floors = {name: attendance.floor(name, self._lease.epoch) for name in attendance.floors}
        return Arrangement(
            aside=frozenset(attendance.asides),
            floors={name: floor for name, floor in floors.items() if floor != START},
            set_aside=tuple(self._set_aside),
            returned=tuple(self._returned),
            dropped=self._dropped,
            more=bool(attendance.moving),
            near=self._near,
        )

    def _begins_with_kept(self, listed: Listed) -> bool:
        established = self.attendance.established or 0.0
        return listed.start == "kept" and listed.since >= established - NEW_GROUP

    def _be_here(self, name: str, floor: EntryId) -> None:
        self.attendance.floors[name] = (self._lease.epoch, floor)
        self.changed = True

    def _put(self, name: str, position: EntryId, reason: str) -> None:
        # A receiver that is set aside has no floor: its own group has nothing below.
        self.attendance.floors.pop(name, None)
        self.attendance.asides[name] = Aside(position, self._now, reason, readable=True)
        self._stream.groups[self._role(name)] = Group(position=position)
        self._set_aside.append(name)
        self.changed = True

    def _bring_back(self, name: str) -> None:
        # Its own group is not complete yet.
        if name in self.attendance.moving:
            return
        self.changed = self.changed or name not in self.attendance.due
        self.attendance.due.add(name)
        own = self._own(name)
        if own is None:
            return
        if own.position < self._group.position:
            behind = self._group.position.ms - own.position.ms
            self._near = self._near or behind < NEAR * 1000
            return
        # A tenure of the own group may call the receiver, for a released row as well.
        _, until = self._stream.leases.get(self._role(name), ("", 0.0))
        if own.pending or until > self._now:
            self._near = True
            return
        self._remove(name)
        self._be_here(name, own.position)
        self._returned.append(name)

    def _remove(self, name: str) -> None:
        self._stream.groups.pop(self._role(name), None)
        self.attendance.remove(name)
        self.changed = True

    def _move_one(self, name: str, entry: EntryId) -> None:
        fields = self._stream.entries.get(entry)
        if fields is None:
            return  # trimmed or lost: no receiver can handle it
        event_id, note = fields.get(b"id", b""), self._group.notes.get(entry)
        if Kept(entry, name, event_id) in self._group.kept:
            return
        if note is not None and has_finished(note, event_id, name):
            return
        own = self._stream.groups[self._role(name)]
        own.pending[entry] = "aside"
        own.deliveries[entry] = self._group.deliveries.get(entry, 1)
        if note is not None:
            own.notes[entry] = note

    def _own(self, name: str) -> Group | None:
        group = self._stream.groups.get(self._role(name))
        return group if group is not None and group.exists else None

    def _role(self, name: str) -> str:
        return f"{self._lease.group}/{name}"
