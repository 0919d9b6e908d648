"""Members, backlogs and the removal of data on Redis."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgy_bus.brokers.base import (
    Administration,
    Backlog,
    EntryId,
    Members,
    Pause,
    Presence,
    Protocol,
    Trip,
)
from edgy_bus.brokers.redis.connections import Argument
from edgy_bus.brokers.redis.core import RedisCore
from edgy_bus.brokers.redis.encoding import milliseconds, text_of
from edgy_bus.brokers.redis.keys import Key
from edgy_bus.brokers.redis.scripts import Answer, Call, pairs
from edgy_bus.errors import BrokerError
from edgy_bus.events import Partition

_ERASE_TIMEOUT = 60.0

_DIGITS = 14
"""Digits of the end of a pause in milliseconds, which is before the year 5138."""


class RedisAdministration(RedisCore, Administration):
    """Count workers and entries, and delete keys."""

    async def keep_protocol(self, protocol: Protocol) -> Protocol:
        answer = await self._scripts.call("protocol", (self.keys.protocol(),), protocol)
        return Protocol(int(answer[b"version"]), int(answer[b"oldest"]))

    async def join(self, group: str, worker: str, ttl: float, report: bytes) -> Members:
        return await self._members(group, worker, milliseconds(ttl), report)

    async def join_all(
        self, presences: Sequence[Presence], ttl: float
    ) -> Sequence[Members | BaseException]:
        calls: list[Call] = [
            (self._member_keys(each.group), (each.worker, milliseconds(ttl), each.report))
            for each in presences
        ]
        answers = await self._scripts.call_each("join", calls)
        return [
            answer if isinstance(answer, BrokerError) else _read_members(answer)
            for answer in answers
        ]

    async def leave(self, group: str, worker: str) -> None:
        await self._members(group, worker, 0, b"")

    async def members(self, group: str) -> Members:
        return await self._members(group, "", 0, b"")

    async def reports(self, group: str, workers: Sequence[str]) -> Mapping[str, bytes]:
        if not workers:
            return {}
        reports = await self._ask("HMGET", self.keys.reports(group), *workers)
        return {name: report for name, report in zip(workers, reports, strict=True) if report}

    async def _members(self, group: str, worker: str, ttl: int, report: bytes) -> Members:
        answer = await self._scripts.call("join", self._member_keys(group), (worker, ttl, report))
        return _read_members(answer)

    def _member_keys(self, group: str) -> tuple[Key, ...]:
        return (
            self.keys.seen(group),
            self.keys.reports(group),
            self.keys.nudge(group),
            self.keys.receivers(group),
            self.keys.paused(group),
            self.keys.tripped(group),
        )

    async def nudge(self, group: str) -> None:
        await self._look("INCR", self.keys.nudge(group))

    async def pause(
        self, group: str, seconds: float | None, note: str, *, receiver: str = ""
    ) -> Pause:
        ttl = 0 if seconds is None else milliseconds(seconds)
        keys = (self.keys.paused(group),)
        kept = note.encode("utf-8", "replace")
        answer = await self._scripts.call("pause", keys, (receiver, ttl, kept))
        return Pause(_end_of(int(answer[b"until"])), text_of(kept))

    async def resume(self, group: str, *, receiver: str = "") -> bool:
        answer = await self._scripts.call("resume", (self.keys.paused(group),), (receiver,))
        return bool(answer[b"paused"])

    async def trip(self, group: str, receiver: str, seconds: float, step: int, reason: str) -> None:
        # An error may quote bytes that are no text.
        arguments = (receiver, milliseconds(seconds), step, reason.encode("utf-8", "replace"))
        await self._scripts.call("trip", (self.keys.tripped(group),), arguments)

    async def reset(self, group: str, receiver: str) -> bool:
        return bool(await self._look("HDEL", self.keys.tripped(group), receiver))

    async def backlog(self, partition: Partition) -> list[Backlog]:
        key = self.keys.events(partition)
        # XINFO GROUPS of a missing stream is an error.
        if not await self._look("EXISTS", key):
            return []
        rows = map(pairs, await self._look("XINFO", "GROUPS", key))
        # Not the groups of receivers that are set aside, which are parts of a group.
        return [await self._backlog(partition, row) for row in rows if b"/" not in row[b"name"]]

    async def _backlog(self, partition: Partition, group: Mapping[bytes, Any]) -> Backlog:
        name = text_of(group[b"name"])
        unread = group.get(b"lag")
        if unread is None:
            # Servers before 7.0 count no lag, and newer servers not after every trimming.
            after = "(" + text_of(group[b"last-delivered-id"])
            unread = len(await self._look("XRANGE", self.keys.events(partition), after, "+"))
        dead = await self._look("XLEN", self.keys.dead(partition, name))
        return Backlog(name, int(group[b"pending"]), int(unread), int(dead))

    async def _look(self, *command: Argument) -> Any:
        """Return the reply to a command. A value of another type stays where it is."""
        (reply,) = await self._scripts.ask([command])
        return reply

    async def oldest_unfinished(self, partition: Partition, group: str) -> EntryId | None:
        keys = (self.keys.events(partition), self.keys.aside(partition, group))
        answer = await self._scripts.call("unfinished", keys, (group,))
        return EntryId.parse(answer[b"oldest"]) if b"oldest" in answer else None

    async def forget(self, partition: Partition, group: str) -> None:
        aside, here = self.keys.aside(partition, group), self.keys.here(partition, group)
        receivers = [text_of(name) for name in pairs(await self._look("HGETALL", aside))]
        roles = [group, *(f"{group}/{receiver}" for receiver in receivers)]
        if await self._look("EXISTS", self.keys.events(partition)):
            for role in roles:
                await self._look("XGROUP", "DESTROY", self.keys.events(partition), role)
        # The notes are about entries that a new group reads anew. Dead letters, held rows and the
        # fence stay: tokens must rise when the group comes back.
        notes = [self.keys.notes(partition, role) for role in roles]
        await self._look("UNLINK", *notes, aside, here)

    async def erase(self) -> None:
        # SCAN, because KEYS would block the server for all its users.
        cursor = b"0"
        while True:
            command = ("SCAN", cursor, "MATCH", f"{self.keys.prefix}:*", "COUNT", 1000)
            ((cursor, keys),) = await self._scripts.ask([command], timeout=_ERASE_TIMEOUT)
            if keys:
                await self._look("UNLINK", *keys)
            if cursor == b"0":
                return


def _read_members(answer: Answer) -> Members:
    reports = pairs(answer[b"reports"])
    pauses = _pauses_in(pairs(answer[b"paused"]))
    return Members(
        [text_of(name) for name in answer[b"alive"]],
        {text_of(name): report for name, report in reports.items()},
        text_of(answer[b"nudge"]),
        text_of(answer[b"roster"]),
        pauses.pop("", None),
        pauses,
        _trips_in(answer[b"tripped"]),
    )


def _pauses_in(lines: Mapping[bytes, bytes]) -> dict[str, Pause]:
    """Read pauses by receiver. What another program wrote pauses nobody."""
    pauses = {}
    # A program may have written anything into the hash, and such a text must stop no worker.
    for name, text in lines.items():
        end, _, note = text_of(text).partition(" ")
        if end.isascii() and end.isdigit() and len(end) <= _DIGITS:
            pauses[text_of(name)] = Pause(_end_of(int(end)), note)
    return pauses


def _trips_in(flat: Sequence[bytes]) -> dict[str, Trip]:
    """Return the trips of a group by receiver, as `join.lua` answers them."""
    # Numbers and texts alternate, so that no mapping can be made of them.
    rows = (flat[at : at + 5] for at in range(0, len(flat), 5))
    return {
        text_of(name): Trip(int(remaining) / 1000, int(age) / 1000, int(step), text_of(reason))
        for name, remaining, age, step, reason in rows
    }


def _end_of(ends: int) -> float | None:
    return ends / 1000 if ends else None
