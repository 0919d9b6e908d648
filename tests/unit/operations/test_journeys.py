"""Journeys as values: stages, receivers of notes, order."""

from datetime import UTC, datetime

import pytest

from edgy_bus.brokers.base import EntryId, GroupAtEntry
from edgy_bus.events import new_event_id, now
from edgy_bus.operations import EventSummary, GroupStage, Journey, ReceiverState, Stage
from edgy_bus.operations.journeys import group_journey, in_order, stage_of, written_ms
from edgy_bus.runtime.outcome import Note, pack_notes

ENTRY = EntryId(1_000, 0)
DUE = datetime(2026, 1, 1, tzinfo=UTC)


def at_entry(position: EntryId, reader: str = "", notes: bytes | None = None) -> GroupAtEntry:
    return GroupAtEntry("mail", position, reader, 1 if reader else 0, notes)


def test_the_time_of_an_event_is_in_its_id() -> None:
    ms = written_ms(new_event_id())
    assert ms is not None
    assert abs(ms - now().timestamp() * 1000) < 60_000
    for other in ("", "order-7", "0" * 32, "not hexadecima" + "7" * 18, new_event_id()[1:]):
        assert written_ms(other) is None


@pytest.mark.parametrize(
    ("is_pending", "is_placed", "is_complete", "stage"),
    [
        (True, False, True, Stage.PENDING),
        (False, True, True, Stage.PUBLISHED),
        (False, False, True, Stage.CONFIRMED),
        (False, False, False, Stage.PUBLISHED),
    ],
)
def test_the_tables_tell_how_far_an_event_is(
    is_pending: bool, is_placed: bool, is_complete: bool, stage: Stage
) -> None:
    assert stage_of(is_pending=is_pending, is_placed=is_placed, is_complete=is_complete) is stage


@pytest.mark.parametrize(
    ("position", "reader", "stage"),
    [
        (EntryId(999, 9), "", GroupStage.UNREAD),
        (ENTRY, "", GroupStage.SETTLED),
        (EntryId(1_000, 1), "", GroupStage.SETTLED),
        (ENTRY, "7.host-1.1", GroupStage.UNFINISHED),
        (EntryId(2_000, 0), "7.host-1.1", GroupStage.UNFINISHED),
    ],
)
def test_a_group_has_read_an_entry_or_not_and_finished_it_or_not(
    position: EntryId, reader: str, stage: GroupStage
) -> None:
    assert group_journey("e", ENTRY, at_entry(position, reader)).stage is stage


def test_notes_tell_which_receivers_are_done_and_which_wait() -> None:
    notes = pack_notes(
        "e",
        {
            "mail": Note(2, due=DUE.timestamp(), wait=60.0, reason="away"),
            "search": Note(1, due=DUE.timestamp(), done=True),
            "ship": Note(3, done=True, kept=True),
        },
    )
    group = group_journey("e", ENTRY, at_entry(ENTRY, "7.host-1.1", notes), holder="8.host-2.1")
    assert (group.owner, group.reader, group.deliveries) == ("host-2", "host-1", 1)
    assert group.receivers == (
        ReceiverState("mail", 2, done=False, put_aside=False, due=DUE, reason="away"),
        ReceiverState("search", 1, done=True, put_aside=False, due=None, reason=""),
        ReceiverState("ship", 3, done=True, put_aside=True, due=None, reason=""),
    )
    finished = group_journey("e", ENTRY, at_entry(ENTRY, "", notes))
    assert finished.receivers == (), "a note that came after the end of its entry"
    other = group_journey("f", ENTRY, at_entry(ENTRY, "7.host-1.1", notes))
    assert other.receivers == (), "notes about a lost event in the same entry"


def journey(event_id: str, sequence: int | None, time: str) -> Journey:
    return Journey(
        EventSummary(
            id=event_id,
            model="accounts.User",
            partition="0",
            signal="post_save",
            subject="1",
            time=time,
            source="accounts",
            sequence=sequence,
            causation=None,
            context={},
            traceparent=None,
            to=None,
        )
    )


def test_events_of_a_row_are_in_the_order_of_their_sequence_whatever_clocks_say() -> None:
    events = [journey("c", 3, "2026-01-01"), journey("a", 1, "2026-01-03"), journey("b", 2, "")]
    assert [each.event.id for each in in_order(events)] == ["a", "b", "c"]
