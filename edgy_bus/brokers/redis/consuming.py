"""The consumer's role on Redis Streams."""

from collections.abc import Mapping, Sequence

from edgy_bus.brokers.base import (
    ANY_SIZE,
    EVERY_LETTER,
    NOBODY,
    OVERSHOOT,
    START,
    Consuming,
    DeadLetter,
    Entry,
    EntryId,
    Fetched,
    Kept,
    Lease,
    LetterLimits,
)
from edgy_bus.brokers.redis.bell import RedisBell
from edgy_bus.brokers.redis.connections import Argument
from edgy_bus.brokers.redis.core import RedisCore, require_tenure
from edgy_bus.brokers.redis.encoding import (
    letter_arguments,
    limit_arguments,
    proof_arguments,
    proofs_arguments,
    read_fields,
    tenure_arguments,
    text_of,
)
from edgy_bus.brokers.redis.scripts import Answer


class RedisConsuming(RedisCore, Consuming):
    """Fetch and finish entries under a lease, one script per step."""

    async def fetch(
        self,
        lease: Lease,
        count: int,
        *,
        inherit: bool,
        after: EntryId = START,
        most_bytes: int = ANY_SIZE,
    ) -> Fetched:
        partition = lease.partition
        aside = self.keys.aside(partition, lease.group)
        keys = (self.keys.events(partition), *self._tenure_keys(lease), aside)
        bounds = (int(inherit), str(after), most_bytes, OVERSHOOT, lease.receiver, lease.group)
        arguments = (lease.role, *tenure_arguments(lease), count, *bounds)
        answer = await self._scripts.call("fetch", keys, arguments)
        if answer.refusal == b"returned":
            return Fetched((), False, after, ended=True)
        require_tenure(answer, lease)
        return _inherited(answer) if b"inherited" in answer else _fresh(answer)

    async def settle(
        self,
        lease: Lease,
        entries: Sequence[EntryId],
        kept: Sequence[Kept] = (),
        left_out: Mapping[str, EntryId] = NOBODY,
    ) -> None:
        partition, group = lease.partition, lease.group
        attendance = (self.keys.aside(partition, group), self.keys.here(partition, group))
        keys = (self.keys.events(partition), *self._tenure_keys(lease), *attendance)
        number, *proofs = proofs_arguments(kept)
        arguments = [lease.role, *tenure_arguments(lease), number, len(left_out), *proofs]
        for receiver, entry in left_out.items():
            arguments += (receiver, str(entry))
        arguments += [f"{ms}-{seq}" for ms, seq in entries]
        require_tenure(await self._scripts.call("settle", keys, arguments), lease)

    async def note(
        self,
        lease: Lease,
        notes: Mapping[EntryId, bytes],
        kept: Sequence[Kept] = (),
        *,
        number: int = 0,
    ) -> None:
        arguments = [*tenure_arguments(lease), number, *proofs_arguments(kept)]
        for entry, note in notes.items():
            arguments += (str(entry), note)
        answer = await self._scripts.call("note", self._tenure_keys(lease), arguments)
        require_tenure(answer, lease)

    async def bury(
        self,
        lease: Lease,
        letter: DeadLetter,
        kept: Sequence[Kept] = (),
        limits: LetterLimits = EVERY_LETTER,
    ) -> int:
        # The group of all, also for a receiver that is set aside.
        partition, group = lease.partition, lease.group
        letters = (self.keys.dead(partition, group), self.keys.removed(partition, group))
        arguments: list[Argument] = [*tenure_arguments(lease), *limit_arguments(limits)]
        arguments.append(str(letter.entry))
        arguments += proof_arguments(letter.kept)
        arguments += proofs_arguments(kept)
        arguments += letter_arguments(letter)
        answer = await self._scripts.call("bury", (*self._tenure_keys(lease), *letters), arguments)
        require_tenure(answer, lease)
        return int(answer[b"removed"])

    def bell(self) -> RedisBell:
        return RedisBell(self._connections, self.keys, self._limits)


def _fresh(answer: Answer) -> Fetched:
    """Return new entries."""
    # The same as `Entry(…)` at a third of the cost: this loop runs for every event.
    new, parse = tuple.__new__, EntryId.parse
    entries = [
        new(Entry, (parse(entry), read_fields(fields), None, 1, ()))
        for entry, fields in answer[b"fresh"]
    ]
    position = EntryId.parse(answer[b"position"])
    return Fetched(entries, False, position, more=answer[b"more"] == 1)


def _inherited(answer: Answer) -> Fetched:
    """Return the entries that former owners left, with their notes."""
    parts = (answer[name] for name in (b"inherited", b"notes", b"deliveries", b"kept"))
    entries = []
    for (entry, raw), note, deliveries, proofs in zip(*parts, strict=True):
        fields = read_fields(raw)
        kept = _kept(proofs, fields)
        entries.append(Entry(EntryId.parse(entry), fields, note or None, int(deliveries), kept))
    missing = [EntryId.parse(entry) for entry in answer[b"missing"]]
    return Fetched(entries, True, EntryId.parse(answer[b"position"]), missing)


def _kept(proofs: Sequence[bytes], fields: Mapping[bytes, bytes]) -> list[str]:
    """Return the receivers for which the event that an entry has now was put aside."""
    event_id = fields.get(b"id", b"")
    pairs = zip(proofs[::2], proofs[1::2], strict=True)
    return [text_of(receiver) for receiver, event in pairs if event == event_id]
