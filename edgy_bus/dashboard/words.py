"""Values as people read them: lengths of time, states, links. Pure functions of values."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

from edgy_bus.operations import (
    GroupJourney,
    GroupStage,
    GroupStatus,
    Journey,
    ReceiverState,
    ReceiverStatus,
    Stage,
)
from edgy_bus.reasons import printable

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True, slots=True)
class Chip:
    """A state in words, and its kind: good, wait, bad or rest. The colour repeats the words."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """A point on the way of an event."""

    kind: str
    title: str
    detail: str
    at: str = ""


def plain(value: object) -> object:
    """Return a value for a page: without control characters, unless it is markup."""
    # Text may turn the direction of a line, or end the line, and look like another value then.
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def packed(value: object) -> str:
    """Return a value for a hidden field, from which `unpacked` makes exactly the same value."""
    # Browsers change line breaks in forms, and a key of a row may contain any character.
    return json.dumps(value)


def unpacked(text: object) -> Any:
    """Return the value of a hidden field; None for a text of another origin."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


def link(path: str, **values: object) -> str:
    """Return the address of a page, without the values that are empty."""
    query = {name: value for name, value in values.items() if value not in (None, "", False)}
    # Names of Redis are any bytes: also a lone surrogate must not fail.
    return f"{path}?{urlencode(query, errors='surrogatepass')}" if query else path


def number(value: int | None) -> str:
    """Return a number with groups of three digits."""
    return "?" if value is None else f"{value:,}"


def several(count: int, word: str) -> str:
    """Return a number with a word, in the plural unless the number is 1."""
    return f"{number(count)} {word}" if count == 1 else f"{number(count)} {word}s"


def length(seconds: float | None) -> str:
    """Return a length of time: at most two units, the largest that fit."""
    if seconds is None or seconds <= 0:
        return "\N{EN DASH}" if seconds is None else "0 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    parts = []
    for seconds_of, unit in _UNITS:
        count, whole = divmod(whole, seconds_of)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def size(count: int | None) -> str:
    """Return a number of bytes."""
    if count is None:
        return "?"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            digits = 0 if unit == "B" else 1
            return f"{value:.{digits}f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def moment(time: datetime) -> str:
    """Return a time in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def until(seconds: float | None) -> str:
    """Return the end of a pause."""
    if seconds is None:
        return "until resumed"
    return f"until {moment(datetime.fromtimestamp(seconds, UTC))}"


def group_chips(group: GroupStatus) -> list[Chip]:
    """Return the states of a group, the most urgent first."""
    chips = []
    if group.deserted:
        chips.append(Chip("bad", "no worker"))
    if group.pause is not None:
        chips.append(Chip("wait", "paused"))
    if group.tripped:
        chips.append(Chip("bad", f"{several(len(group.tripped), 'breaker')} open"))
    if group.paused:
        chips.append(Chip("wait", f"{several(len(group.paused), 'receiver')} paused"))
    if group.aside:
        chips.append(Chip("wait", f"{len(group.aside)} set aside"))
    # Without a worker and without events, a group may rest: a program that runs at night.
    if not chips:
        chips.append(Chip("good", "running") if group.workers else Chip("rest", "at rest"))
    return chips


def receiver_chip(receiver: ReceiverStatus) -> Chip:
    """Return the state of a receiver."""
    if receiver.forgotten:
        return Chip("rest", "forgotten")
    # First: a receiver may be paused because its program is to be stopped.
    if receiver.pause is not None:
        return Chip("wait", "paused")
    if receiver.trip is not None:
        return Chip("bad", "breaker open") if receiver.trip.is_open else Chip("wait", "trying")
    if receiver.missing:
        return Chip("bad", "no program")
    return Chip("good", "running")


def steps(journey: Journey) -> Iterator[Step]:
    """Yield the points on the way of an event, in the order of its way."""
    event = journey.event
    yield Step("good", "Made", f"{event.model}.{event.signal}", event.time)
    yield from _outbox(journey)
    yield from _stream(journey)
    for group in journey.groups:
        yield from _group(group)
    for letter in journey.letters:
        attempts = several(letter.attempts, "attempt")
        detail = f"{letter.receiver} gave up after {attempts}: {letter.reason}"
        yield Step("bad", f"{letter.group}: dead letter", detail, moment(letter.buried))
    for parked in journey.parked:
        state = "released, a worker handles it" if parked.released else "waits for a decision"
        place = f"{parked.receiver}, number {parked.number} of its row"
        yield Step("wait", f"{parked.group}: parked", f"{place}; {state}: {parked.reason}")


def _outbox(journey: Journey) -> Iterator[Step]:
    row = journey.outbox
    # Which of the two, nobody knows: the row would tell.
    if row is None:
        reason = "No outbox within reach has the event: another service wrote it, or it was pruned."
        yield Step("rest", "Outbox", reason)
        return
    kind, text = {
        Stage.PENDING: ("wait", "waits for the relay"),
        Stage.PUBLISHED: ("good", "published, not finished by every group"),
        Stage.CONFIRMED: ("good", "published, and finished by every group"),
    }[row.stage]
    yield Step(kind, "Outbox", f"{text}; row {row.number} of {row.database}", moment(row.written))


def _stream(journey: Journey) -> Iterator[Step]:
    entry = journey.stream
    if entry is None:
        yield Step("rest", "Stream", f"{journey.event.stream} has no entry of the event")
        return
    fate = "" if entry.present else "; the entry is not there any more"
    detail = f"{journey.event.stream}, entry {entry.entry}{fate}"
    yield Step("good", "Stream", detail, moment(entry.appended))


def _group(group: GroupJourney) -> Iterator[Step]:
    kind = "good" if group.stage is GroupStage.SETTLED else "wait"
    words = [group.stage.value]
    if group.paused:
        words.append("the group is paused")
    if group.stage is GroupStage.UNREAD:
        unread = "?" if group.unread is None else several(group.unread, "unread event")
        words.append(unread)
    # Nobody waits for the owner of a stream that is done with the event.
    if group.stage is not GroupStage.SETTLED:
        words.append(f"owner {group.owner}" if group.owner else "no worker has the stream")
    if group.deliveries > 1:
        words.append(f"delivered {group.deliveries} times")
    yield Step(kind, group.group, "; ".join(words))
    for receiver in group.receivers:
        yield _receiver(group.group, receiver)


def _receiver(group: str, state: ReceiverState) -> Step:
    attempts, title = several(state.attempts, "attempt"), f"{group}, {state.receiver}"
    # A receiver that has given up is done as well, and that is the news.
    if state.put_aside:
        return Step("bad", title, f"{attempts}, put aside. {state.reason}")
    if state.done:
        return Step("good", title, f"done. {state.reason}".strip())
    due = "" if state.due is None else f"next attempt {moment(state.due)}"
    return Step("wait", title, f"{attempts}. {state.reason}", due)
