"""Entries in hand: what is known about each receiver, and what the broker is told."""

from edgy_bus.brokers.base import DeadLetter, Entry, EntryId, Kept
from edgy_bus.runtime.jobs import Handling, Job
from edgy_bus.runtime.outcome import Note, unpack_notes
from tests.unit.runtime.support import envelope, subscribe

ENTRY = EntryId(1, 2)
FIELDS = {b"id": b"e1", b"head": b"{}", b"data": b"{}"}


def handling(unfinished: int, deliveries: int = 1) -> Handling:
    return Handling(Entry(ENTRY, FIELDS, None, deliveries), {}, unfinished)


async def nothing(sender: object, **kwargs: object) -> None: ...


def test_a_receiver_that_has_finished_is_noted_while_others_have_not() -> None:
    entry = handling(2)
    entry.notes["a"] = Note(attempts=2, due=5.0)
    entry.finish("a")
    assert entry.unfinished == 1
    assert entry.notes == {"a": Note(2, done=True)}
    entry.finish("b")
    assert entry.unfinished == 0
    assert "b" not in entry.notes, "the entry is settled: nobody would read the note"
    assert entry.kept == []


def test_what_was_put_aside_leaves_a_proof_also_of_the_last_receiver() -> None:
    entry = handling(1)
    entry.put_aside("a", 3)
    assert entry.unfinished == 0
    assert entry.kept == [Kept(ENTRY, "a", b"e1")]


def test_packed_notes_hold_what_has_begun() -> None:
    entry = handling(3)
    entry.notes["a"] = Note(1)
    entry.begun = {"a": Note(2), "b": Note(1)}
    assert unpack_notes("e1", entry.packed()) == {"a": Note(2), "b": Note(1)}
    assert entry.notes == {"a": Note(1)}


def test_a_dead_letter_has_the_entry_byte_for_byte() -> None:
    letter = handling(1).letter("a", 3, "no")
    assert letter == DeadLetter(ENTRY, "a", "no", 3, FIELDS)


def test_what_a_batch_may_have_failed_with_is_called_alone() -> None:
    chosen = subscribe(nothing)

    def job(deliveries: int = 1, attempts: int = 0, again: bool = False) -> Job:
        entry = handling(1, deliveries)
        entry.notes["r"] = Note(attempts)
        return Job(entry, envelope(), chosen, again=again)

    assert not job().alone
    assert not job().inherited
    assert job(deliveries=2).inherited
    assert not job(deliveries=2).alone, "one owner may have died of another event"
    assert job(deliveries=3).alone
    assert job(attempts=1).alone
    assert job(again=True).alone
