"""The doctor: what is wrong or will be, why that matters, and what mends it.

Each finding has a code that stays the same from release to release; docs/operations.md explains
every code.
"""

import asyncio
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum

from edgy_bus.brokers.base import Broker, BrokerFacts
from edgy_bus.errors import ConfigurationError, EdgyBusError
from edgy_bus.events import service_of
from edgy_bus.operations.foreign_entries import ForeignEntry, foreign_entries
from edgy_bus.operations.overview import GroupStatus, OutboxStatus, Status, status
from edgy_bus.operations.parts import Parts
from edgy_bus.operations.receivers import ReceiverStatus, all_receivers
from edgy_bus.operations.unfinished import (
    KINDS,
    UNITS,
    UNMOVED,
    Unfinished,
    entries_of,
    kind_of,
    read_entry,
    resuming,
)

OLDEST_VERSION = (6, 2)

CLOCKS = 1.0
"""Seconds by which the clocks of the broker and of this machine may differ."""

FULL = 0.85
"""Share of the memory of a broker that is worth a warning."""

UNPUBLISHED = 60.0
"""Seconds after which an event that is not in its stream is worth an error."""

BEHIND = 30.0
"""Seconds by which a group may be behind before a growing lag is worth a warning."""


class Severity(IntEnum):
    """How much a finding matters."""

    WARNING = 1
    """Something waits for an operator, or can go wrong."""
    ERROR = 2
    """Events do not move, or can be lost."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A thing that is not as it should be."""

    code: str
    severity: Severity
    about: str
    """What the finding is about: a group, a database, the broker."""
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, the most severe first."""

    findings: tuple[Finding, ...]

    def fails(self, least: Severity) -> bool:
        """Return whether a finding is at least as severe as `least`."""
        return any(finding.severity >= least for finding in self.findings)


async def doctor(parts: Parts, *, seconds: float = 5.0, unreachable: str = "") -> Diagnosis:
    """Look at the broker, the groups and the outboxes, and return what is wrong. Only reads.

    Args:
        parts: the broker, and the outboxes whose databases are connected.
        seconds: the time between two looks, which show whether a lag grows.
        unreachable: why a database of the publisher was not reached; empty if all were.
    """
    first = await status(parts)
    difference = await _clock_difference(parts.broker)
    facts = await parts.broker.facts()
    # A system at rest is examined at once.
    if any(group.lag for group in first.groups):
        await asyncio.sleep(seconds)
    second = await status(parts)
    declared = await parts.broker.declared()
    findings = [
        *_of_broker(facts),
        *_of_clocks(difference),
        *_of_groups(second),
        *_of_lags(first, second),
        *_of_foreign(await foreign_entries(parts, declared, is_complete=not unreachable)),
        *_of_receivers(await all_receivers(parts.broker), second),
        *_of_outboxes(second, unreachable),
        *_of_entries(parts.service, await _entries(parts), datetime.now(UTC)),
    ]
    findings.sort(key=lambda finding: -finding.severity)
    return Diagnosis(tuple(findings))


async def _clock_difference(broker: Broker) -> float:
    """Return by how many seconds the broker's clock is ahead of this machine's."""
    before = time.time()
    facts = await broker.facts()
    after = time.time()
    # The broker looked at its clock between the two looks here.
    if before <= facts.now <= after:
        return 0.0
    return facts.now - (after if facts.now > after else before)


async def _entries(parts: Parts) -> Mapping[str, str]:
    """Return the entries of the backfills and replays that have begun and not ended."""
    entries: dict[str, str] = {}
    for publisher in parts.publishers:
        # A database that cannot be read has a finding of its own.
        with suppress(EdgyBusError):
            for kind in KINDS:
                entries |= await entries_of(publisher, kind)
    return entries


def _of_entries(service: str, entries: Mapping[str, str], now: datetime) -> Iterator[Finding]:
    for name, text in sorted(entries.items()):
        # One by one: an entry that cannot be read must not hide the others.
        try:
            unfinished = read_entry(name, text)
        except ConfigurationError:
            yield _unreadable(name)
        else:
            # Another service may have its events in the tables.
            if service_of(unfinished.model) == service:
                yield from _of_unfinished(unfinished, now)


def _unreadable(name: str) -> Finding:
    kind = kind_of(name)
    return Finding(
        f"{kind}.unreadable",
        Severity.WARNING,
        f"entry {name} of edgy_bus_meta",
        f"it is no unfinished {kind} of this release, and stands in the way of the same {kind}",
        f"delete this row of edgy_bus_meta, and begin the {kind} anew",
    )


def _of_unfinished(each: Unfinished, now: datetime) -> Iterator[Finding]:
    seconds = (now - datetime.fromisoformat(each.moved).astimezone(UTC)).total_seconds()
    # An action that runs writes pages, unless a relay or its receiver is behind.
    if seconds > UNMOVED:
        yield Finding(
            f"{each.kind}.stands",
            Severity.WARNING,
            f"{each.kind} of {each.model} to {each.to}",
            f"{each.done:,} of {each.total:,} {UNITS[each.kind]} are sent, the last one "
            f"{seconds:.0f} s ago; {each.by} has begun",
            f"`{resuming('MODULE:BUS', each)}`, or look why it waits",
        )


def _of_broker(facts: BrokerFacts) -> Iterator[Finding]:
    settings: Mapping[str, str] = facts.settings
    if not settings:
        yield Finding(
            "broker.unknown",
            Severity.WARNING,
            "the broker",
            "the broker does not say its version, its policy of eviction and its persistence",
            "grant INFO to the operator (docs/security.md)",
        )
        return
    version = settings.get("redis_version", "")
    # Forks have versions with suffixes.
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers < OLDEST_VERSION:
        yield Finding(
            "broker.version",
            Severity.ERROR,
            "the broker",
            f"Redis {version} lacks commands that workers need",
            "use Redis 6.2 or newer, or Valkey",
        )
    # Servers that do not limit their memory name a policy, too.
    policy = settings.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield Finding(
            "broker.evicts",
            Severity.ERROR,
            "the broker",
            f"with maxmemory-policy {policy}, a full server removes streams or leases",
            "CONFIG SET maxmemory-policy noeviction",
        )
    yield from _of_memory(settings)
    yield from _of_persistence(settings)


def _of_memory(settings: Mapping[str, str]) -> Iterator[Finding]:
    used, most = int(settings.get("used_memory", 0)), int(settings.get("maxmemory", 0))
    # Zero: no limit, and the memory of the machine is unknown.
    if most and used > FULL * most:
        yield Finding(
            "broker.nearly_full",
            Severity.WARNING,
            "the broker",
            f"{used:,} of {most:,} bytes are used; a full server publishes nothing",
            "look for groups that stand still, or raise maxmemory (docs/redis-memory.md)",
        )


def _of_persistence(settings: Mapping[str, str]) -> Iterator[Finding]:
    # Hosted servers may leave these lines out: what is not said is no finding.
    if settings.get("aof_enabled") == "0":
        yield Finding(
            "broker.not_persistent",
            Severity.WARNING,
            "the broker",
            "without an append-only file, a crash loses dead letters and parked events, and other "
            "events come again",
            "CONFIG SET appendonly yes",
        )
    if settings.get("rdb_last_bgsave_status", "ok") != "ok":
        yield Finding(
            "broker.snapshot_failed",
            Severity.ERROR,
            "the broker",
            "the last snapshot could not be written, and the server may refuse writes",
            "look at the log and the disk of the server",
        )


def _of_clocks(difference: float) -> Iterator[Finding]:
    if abs(difference) > CLOCKS:
        yield Finding(
            "clock.differs",
            Severity.WARNING,
            "the broker",
            f"its clock differs by {difference:+.1f} s from the clock of this machine: the times "
            "of dead letters and lags mislead",
            "synchronise the clocks (NTP)",
        )


def _of_groups(view: Status) -> Iterator[Finding]:
    for group in view.groups:
        yield from _of_group(group)


def _of_group(group: GroupStatus) -> Iterator[Finding]:
    about = f"group {group.name}"
    if group.deserted:
        yield Finding(
            "group.deserted",
            Severity.ERROR,
            about,
            f"{group.lag} events wait for {group.seconds:.0f} s, no worker is alive, and no stream "
            "is trimmed",
            f"start a worker of the group, or `edgy-bus group forget MODULE:BUS {group.name}`",
        )
    if group.pause is not None:
        yield Finding(
            "group.paused",
            Severity.WARNING,
            about,
            f"its workers begin no call ({group.pause.note}), and {group.lag} events wait",
            f"`edgy-bus resume {group.name}`",
        )
    # Leases that ran out a moment ago are taken again soon, but a deserted group takes none.
    elif group.unowned and not group.deserted:
        yield Finding(
            "group.unowned",
            Severity.WARNING,
            about,
            f"no worker owns {group.unowned} streams with unfinished events: the programs that run "
            "have no receiver for the models",
            "start the program that has these receivers; `edgy-bus streams` names the streams",
        )
    if group.dead:
        yield Finding(
            "dead.letters",
            Severity.WARNING,
            about,
            f"receivers gave {group.dead} events up",
            f"`edgy-bus dead list --group {group.name}`, then `dead replay` or `dead discard`",
        )
    if group.held:
        yield Finding(
            "held.rows",
            Severity.WARNING,
            about,
            f"receivers hold {group.held} rows, whose later events wait",
            f"`edgy-bus held --group {group.name}`, then `edgy-bus release`",
        )


def _of_lags(first: Status, second: Status) -> Iterator[Finding]:
    before = {group.name: group for group in first.groups}
    for group in second.groups:
        # A short lag is a moment's. A group that is deserted or paused has a finding of its own.
        earlier = before.get(group.name)
        stands = group.deserted or group.pause is not None
        if earlier is None or stands or group.seconds < BEHIND:
            continue
        # The oldest event is the same as before, and more have come: nothing catches up.
        if group.lag > earlier.lag and group.seconds > earlier.seconds:
            yield Finding(
                "group.falls_behind",
                Severity.WARNING,
                f"group {group.name}",
                f"the lag grew from {earlier.lag} to {group.lag} events, and the oldest waits for "
                f"{group.seconds:.0f} s",
                "start more workers, or look for a slow or failing receiver in their logs",
            )


def _of_foreign(entries: Iterable[ForeignEntry]) -> Iterator[Finding]:
    for each in entries:
        yield Finding(
            "stream.foreign",
            Severity.WARNING,
            f"stream {each.partition}",
            f"no outbox knows the entry {each.entry}: the database was restored, or another "
            "program has added the entry, which a relay may take for a restored database",
            "let that program write outbox rows in place of entries (docs/wire-format.md)",
        )


def _of_receivers(receivers: Iterable[ReceiverStatus], view: Status) -> Iterator[Finding]:
    groups = {group.name: group for group in view.groups}
    for receiver in receivers:
        about = f"receiver {receiver.name} of group {receiver.group}"
        aside = groups[receiver.group].aside.get(receiver.name)
        waits = ""
        # A receiver that takes part everywhere waits for nothing.
        if aside is not None:
            waits = f"; {aside.lag} events wait, and keep {aside.size} bytes of streams"
        if receiver.pause is not None:
            yield Finding(
                "receiver.paused",
                Severity.WARNING,
                about,
                f"no worker calls the receiver ({receiver.pause.note}){waits}",
                f"`edgy-bus resume {receiver.group} --receiver {receiver.name}`",
            )
        if receiver.trip is not None:
            yield Finding(
                "receiver.breaker",
                Severity.WARNING,
                about,
                f"its calls fail for {receiver.trip.age:.0f} s ({receiver.trip.reason}), so that "
                f"workers make few of them{waits}",
                "mend what the receiver calls; then `edgy-bus resume "
                f"{receiver.group} --receiver {receiver.name}`, or wait for the next try",
            )
        if receiver.missing:
            yield Finding(
                "receiver.missing",
                Severity.WARNING,
                about,
                f"no program that runs has the receiver, for {receiver.seconds:.0f} s{waits}",
                "start the program that has the receiver; if its function has another name now, "
                "see `edgy-bus receiver rename`; if it is gone, `edgy-bus receiver forget "
                f"MODULE:BUS {receiver.name}`",
            )


def _of_outboxes(view: Status, unreachable: str) -> Iterator[Finding]:
    if unreachable:
        yield Finding(
            "outbox.unreachable",
            Severity.ERROR,
            "the publisher's database",
            unreachable,
            "mend the database; this answer is about the broker alone",
        )
    for outbox in view.outboxes:
        yield from _of_outbox(outbox)


def _of_outbox(outbox: OutboxStatus) -> Iterator[Finding]:
    # A relay that begins needs a moment, so young events are no finding.
    if outbox.error:
        yield Finding(
            "outbox.unreadable",
            Severity.ERROR,
            outbox.database,
            outbox.error,
            "start the service once, which creates the tables, or grant the rights",
        )
    elif outbox.seconds is not None and outbox.seconds > UNPUBLISHED:
        yield Finding(
            "outbox.stands",
            Severity.ERROR,
            outbox.database,
            f"{outbox.pending} events are not published, the oldest for {outbox.seconds:.0f} s",
            "start a relay (`edgy-bus relay MODULE:BUS`), and look at its log",
        )
