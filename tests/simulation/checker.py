"""What must never have happened, told by kind. Truth is what the database committed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from tests.simulation.database import Effect


@dataclass
class Heard:
    """What the receivers of one group without an inbox heard."""

    starts: list[tuple[str, int, str]] = field(default_factory=list)
    """Row, sequence and event id of every call, in order."""
    finished: set[str] = field(default_factory=set)


@dataclass
class Report:
    """Faults by kind, and how much there was to see."""

    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    events: int = 0
    redeliveries: int = 0
    excused: int = 0
    """Events that a receiver missed or received late, because Redis lost the parked events."""

    def add(self, kind: str, what: str) -> None:
        self.faults[kind].append(what)

    @property
    def kinds(self) -> list[str]:
        return sorted(self.faults)


def check_group(
    report: Report,
    name: str,
    heard: Heard,
    committed: Mapping[str, Sequence[int]],
    ids: set[str],
    excused: Set[str] = frozenset(),
    returned: Set[str] = frozenset(),
) -> None:
    """Check that a group has received each committed event, and no other event, in order.

    The first calls for the events of a row follow the order of the commits. An event without any
    call is lost; an event whose calls never finished is unresolved. A receiver is left with a stale
    row if its last call for the row is not the newest. An `excused` event was parked when Redis
    lost its data, and may be missing. An event that may have `returned` with an older copy of the
    data may arrive late.
    """
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    seen: set[str] = set()
    numbers = {row: set(sequences) for row, sequences in committed.items()}
    for row, sequence, event in heard.starts:
        if event not in ids or sequence not in numbers.get(row, ()):
            report.add("phantom", f"{name}: {event}, {sequence} of {row}")
        # What a copy brought back may come late, and takes no newer state away from the checker.
        newer = event in returned and sequence > last.get(row, 0)
        if event not in returned or newer:
            last[row] = sequence
        if event in seen:
            report.redeliveries += 1
            continue
        seen.add(event)
        if first.get(row, 0) > sequence and event in returned:
            report.excused += 1
        elif first.get(row, 0) > sequence:
            report.add("reordered", f"{name}: {sequence} of {row} after {first[row]}")
        first[row] = max(first.get(row, 0), sequence)
    for row, sequence in last.items():
        if sequence < first[row]:
            report.add("stale", f"{name}: {sequence} of {row} after {first[row]}")
    missing = ids - heard.finished
    report.excused += len(missing & excused)
    for event in sorted(missing - excused):
        report.add("unresolved" if event in seen else "lost", f"{name}: {event}")
    report.events += sum(len(one) for one in committed.values())


def check_effects(
    report: Report, name: str, effects: Sequence[Effect], committed: Mapping[str, Sequence[int]]
) -> None:
    """Exactly once and in order."""
    rows: dict[str, list[int]] = defaultdict(list)
    done: dict[str, set[int]] = defaultdict(set)
    events: set[str] = set()
    for effect in effects:
        if effect.sequence in done[effect.subject] or effect.event_id in events:
            report.add("double", f"{name}: {effect.sequence} of {effect.subject}")
        elif rows[effect.subject] and rows[effect.subject][-1] > effect.sequence:
            report.add(
                "stale",
                f"{name}: {effect.sequence} of {effect.subject} after {rows[effect.subject][-1]}",
            )
        rows[effect.subject].append(effect.sequence)
        done[effect.subject].add(effect.sequence)
        events.add(effect.event_id)
    for row, sequences in committed.items():
        for missing in sorted(set(sequences) - set(rows[row])):
            report.add("lost", f"{name}: {missing} of {row}")
    for row, found in rows.items():
        for phantom in sorted(set(found) - set(committed.get(row, ()))):
            report.add("phantom", f"{name}: {phantom} of {row}")


def check_streams(
    report: Report,
    appended: Mapping[object, Sequence[str]],
    events: Mapping[str, tuple[str, int]],
    repeated: Sequence[str],
) -> None:
    """What a stream holds since its last loss: every event once, those of a row in order."""
    for event in repeated:
        report.add("repeated", event)
    for partition, ids in appended.items():
        newest: dict[str, int] = {}
        for event in ids:
            if event not in events:
                report.add("phantom", f"{event} in {partition}")
                continue
            row, sequence = events[event]
            if newest.get(row, 0) > sequence:
                report.add("disordered", f"{sequence} of {row} in {partition} after {newest[row]}")
            newest[row] = max(newest.get(row, 0), sequence)
