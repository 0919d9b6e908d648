"""A dead letter as operators see it: its id, its fields, and the choice of letters by a filter."""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from edgy_bus.brokers.base import Buried, DeadLetter, EntryId
from edgy_bus.codec import Envelope, unpack
from edgy_bus.errors import ConfigurationError, EventError
from edgy_bus.events import Partition
from edgy_bus.runtime.jobs import STREAM

_ADDRESS = re.compile(r"([^/]+)/([^/]+)/([^/]+)/(\d+)-(\d+)")

_VARIABLE = re.compile(
    r"""
    '[^']*' | "[^"]*"                      # what a text quotes
    | \b[0-9a-f]{8}-[0-9a-f-]{27}\b        # a UUID
    | 0x[0-9a-f]+ | \b[0-9a-f]{16,}\b      # an address, a digest
    | \d+(?:[.,:]\d+)*                     # a number, a time
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Parts of a reason that differ from letter to letter of one failure."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, without the data of its event."""

    id: str
    """GROUP/MODEL/PARTITION/ID: names the letter in every command."""
    group: str
    model: str
    partition: str
    receiver: str
    """`*` for an entry that is not an event of this library."""
    signal: str | None
    subject: str | None
    """The key of the row."""
    event_id: str | None
    reason: str
    fingerprint: str
    """The same for all letters of one failure: numbers and quoted values do not count."""
    attempts: int
    buried: datetime
    """When the receiver gave the event up, by the broker's clock."""
    size: int
    """Bytes of the event."""


@dataclass(frozen=True, slots=True)
class ShownLetter:
    """A dead letter with the fields of its event.

    Attributes:
        letter: the letter.
        fields: the fields that are text.
        binary: the fields that are not UTF-8, as base64.
    """

    letter: Letter
    fields: Mapping[str, str]
    binary: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Selection:
    """Choose letters: those that match every given value.

    Attributes:
        group, receiver, model, subject, fingerprint: exact values; None for all.
        since, until: when the receiver gave the event up.
        ids: the ids of the letters; None for all.
    """

    group: str | None = None
    receiver: str | None = None
    model: str | None = None
    subject: str | None = None
    fingerprint: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: frozenset[str] | None = None

    def matches(self, letter: Letter) -> bool:
        """Return whether a letter has every given value."""
        is_chosen = self.ids is None or letter.id in self.ids
        return is_chosen and self._names(letter) and self._has_time(letter.buried)

    def _names(self, letter: Letter) -> bool:
        return (
            self.group in (None, letter.group)
            and self.receiver in (None, letter.receiver)
            and self.model in (None, letter.model)
            and self.subject in (None, letter.subject)
            and self.fingerprint in (None, letter.fingerprint)
        )

    def _has_time(self, buried: datetime) -> bool:
        is_late = self.since is None or buried >= self.since
        return is_late and (self.until is None or buried <= self.until)


def in_words(selection: Selection) -> str:
    """Return the choice in words, without group and receiver, for the log of actions."""
    # Keys of rows are shown by every view of letters as well; the data of events is in no view.
    if selection.ids is not None:
        return f"{len(selection.ids)} ids: {', '.join(sorted(selection.ids))}"
    values = {
        "model": selection.model,
        "key": selection.subject,
        "fingerprint": selection.fingerprint,
        "since": selection.since and selection.since.isoformat(timespec="seconds"),
        "until": selection.until and selection.until.isoformat(timespec="seconds"),
    }
    words = [f"{name} {value}" for name, value in values.items() if value is not None]
    return ", ".join(words) or "all"


def selection_of_ids(ids: Iterable[str]) -> Selection:
    """Return the selection of these letters. Raises `ConfigurationError` for what is no id."""
    chosen = frozenset(ids)
    for address in chosen:
        read_address(address)
    return Selection(ids=chosen)


def read_address(address: str) -> tuple[str, Partition, EntryId]:
    """Return group, stream and entry of a letter's id. Raises `ConfigurationError`."""
    # Names of groups and models contain no slash.
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise ConfigurationError(
            f"{address!r} is not the id of a dead letter, GROUP/MODEL/PARTITION/ID: "
            "`edgy-bus dead list --letters` shows the ids"
        )
    group, model, name, ms, seq = parts.groups()
    return group, Partition(model, name), EntryId(int(ms), int(seq))


def address_of(partition: Partition, group: str, entry: EntryId) -> str:
    """Return the id of the letter that a group has on a stream."""
    return f"{group}/{partition.model}/{partition.name}/{entry}"


def letter_of(partition: Partition, group: str, buried: Buried) -> Letter:
    """Return the view of a letter that a group has on a stream."""
    letter, envelope = buried.letter, event_of(buried.letter)
    event_id = letter.fields.get(b"id", b"").decode("utf-8", "replace")
    # The clock of the broker, by which all letters are ordered: those of programs may differ.
    return Letter(
        id=address_of(partition, group, buried.id),
        group=group,
        model=partition.model,
        partition=partition.name,
        receiver=letter.receiver,
        signal=None if envelope is None else envelope.signal,
        subject=None if envelope is None else envelope.subject,
        event_id=event_id or None,
        reason=letter.reason,
        fingerprint=fingerprint(letter.reason),
        attempts=letter.attempts,
        buried=datetime.fromtimestamp(buried.id.ms / 1000, UTC),
        size=buried.size,
    )


def shown(buried: Buried, letter: Letter) -> ShownLetter:
    """Return a letter with the fields of its event."""
    # Another program may have written any bytes, and an export must not change them.
    text, binary = {}, {}
    for raw_name, value in buried.letter.fields.items():
        name = raw_name.decode("utf-8", "replace")
        try:
            text[name] = value.decode()
        except UnicodeDecodeError:
            binary[name] = base64.b64encode(value).decode()
    return ShownLetter(letter, text, binary)


def event_of(letter: DeadLetter) -> Envelope | None:
    """Return the event of a letter; None if the letter is not an event."""
    # The data is not read, and need not be here. Workers have checked the event before.
    try:
        return unpack({b"data": b"", **letter.fields}) if letter.receiver != STREAM else None
    except EventError:
        return None


def fingerprint(reason: str) -> str:
    """Return eight characters that are the same for all reasons of one kind."""
    kind = _VARIABLE.sub("?", reason)
    return hashlib.sha256(kind.encode("utf-8", "replace")).hexdigest()[:8]
