"""`edgy-bus trace`: what is shown, and the exit status."""

import asyncio
import json

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.base import Broker, DeadLetter
from edgy_bus.events import Event, new_event_id
from edgy_bus.outbox.store import OutboxStore
from edgy_bus.runtime.outcome import Note, pack_notes
from tests.support import PARTITION, bury, event, publish
from tests.unit.cli.support import run
from tests.unit.outbox.support import SUBJECTS, store_in, write

ROW = SUBJECTS["0"]
CAUSE = new_event_id()
EVENT = event("1", 1)._replace(context={"actor": "ada"}, causation=CAUSE)


@pytest.fixture
def broker(bus: edgy.Bus) -> Broker:
    assert bus.broker is not None
    return bus.broker


@pytest.fixture
def written(bus: edgy.Bus, sqlite_url: str) -> list[str]:
    """Three events of a row that wait for the relay; the third was caused by the second."""

    async def prepare() -> list[str]:
        store: OutboxStore = await store_in(sqlite_url)
        ids = await write(store, 2, data='{"secret":"blue"}')
        ids += await write(store, 1, causation=ids[1])
        await store.database.disconnect()
        return ids

    return asyncio.run(prepare())


async def handled(broker: Broker, first: Event) -> None:
    """Publish events; the first is unfinished in one group and given up in another."""
    await publish(broker, first)
    lease = await broker.acquire(PARTITION, "search", "host-2.1", 60)
    assert lease is not None
    [entry] = (await broker.fetch(lease, 10, inherit=False)).entries
    notes = {
        "index": Note(2, due=1_800_000_000.0, wait=60.0, reason="away"),
        "mail": Note(1, done=True),
    }
    await broker.note(lease, {entry.id: pack_notes(first.id, notes)})
    other = await broker.acquire(PARTITION, "mail", "host-1.1", 60)
    assert other is not None
    [entry] = (await broker.fetch(other, 10, inherit=False)).entries
    letter = DeadLetter(entry.id, "app.send", "SMTPError: [550]", 5, entry.fields)
    await broker.bury(other, letter)
    await broker.settle(other, [entry.id], [letter.kept])


def test_an_event_in_a_stream_is_shown_with_groups_receivers_and_letters(
    capsys: pytest.CaptureFixture[str], broker: Broker
) -> None:
    asyncio.run(handled(broker, EVENT))
    status, out, _ = run(capsys, "trace", EVENT.id)
    assert status == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "context actor ada" in lines
    assert "signal accounts.User.post_save" in lines
    assert "mail settled host-1" in lines
    assert "search unfinished host-2 index 2 2027-01-15 08:00:00Z away" in lines
    assert "mail 1 done" in lines
    assert any("app.send" in line and line.endswith("5 SMTPError: [550]") for line in lines)
    assert f"cause {CAUSE}" in lines


def test_a_copy_is_shown_with_its_original(
    capsys: pytest.CaptureFixture[str], broker: Broker
) -> None:
    asyncio.run(publish(broker, EVENT._replace(replay=CAUSE)))
    lines = [" ".join(line.split()) for line in run(capsys, "trace", EVENT.id)[1].splitlines()]
    assert f"replay a copy of {CAUSE}" in lines


@pytest.mark.usefixtures("bus")
def test_an_event_in_the_outbox_is_shown_with_what_it_caused(
    capsys: pytest.CaptureFixture[str], written: list[str]
) -> None:
    status, out, err = run(capsys, "trace", written[1])
    assert (status, err) == (0, "")
    assert "waits for the relay; number 2, written " in out
    assert "accounts.User:0: no entry" in out
    assert f"\n{written[2]}  accounts.User.post_save" in out
    assert "blue" not in out
    assert '{"secret":"blue"}' in run(capsys, "trace", written[1], "--payload")[1]


@pytest.mark.usefixtures("bus", "written")
def test_an_event_that_is_nowhere_is_a_finding_with_the_places(
    capsys: pytest.CaptureFixture[str],
) -> None:
    event_id = new_event_id()
    status, out, err = run(capsys, "trace", event_id)
    assert (status, out) == (1, "")
    first, *_, last = err.splitlines()
    assert first == f"nothing is known of the event {event_id}"
    assert last.startswith("looked at: outbox sqlite:///")
    assert last.endswith(", the broker")


@pytest.mark.usefixtures("bus")
def test_a_place_that_does_not_answer_makes_an_absence_no_finding(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, _, err = run(capsys, "trace", new_event_id())
    assert status == 3
    assert "could not be looked at: outbox sqlite:///" in err


@pytest.mark.usefixtures("bus")
def test_the_events_of_a_row_have_a_line_each_the_newest_last(
    capsys: pytest.CaptureFixture[str], written: list[str]
) -> None:
    status, out, _ = run(capsys, "trace", PARTITION.model, ROW)
    header, *lines, more = out.splitlines()
    assert (status, [line.split()[0] for line in lines]) == (0, written)
    assert header.split() == ["event", "written", "signal", "outbox", "groups", "cause"]
    assert lines[2].split()[-2:] == ["pending", written[1]]
    assert more == "more of an event: `edgy-bus trace program:bus EVENT`"
    status, out, _ = run(capsys, "trace", PARTITION.model, ROW, "--limit", "2")
    assert out.startswith("there may be older events: --limit 20\n")
    assert len(out.splitlines()) == 5


def test_a_line_of_a_row_says_what_became_of_the_event(
    capsys: pytest.CaptureFixture[str], bus: edgy.Bus, broker: Broker
) -> None:
    asyncio.run(bury(broker, event("7", 1)))
    status, out, _ = run(capsys, "trace", PARTITION.model, "7")
    assert status == 0
    assert "mail settled, dead for app.mail" in out


@pytest.mark.usefixtures("bus", "written")
def test_a_row_without_events_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "trace", "accounts.Usr", "1")
    assert (status, out) == (1, "")
    assert "nothing is known of the row '1' of accounts.Usr" in err
    assert "the broker does not know the model accounts.Usr; it knows: none" in err


@pytest.mark.usefixtures("bus")
def test_programs_get_the_envelope(capsys: pytest.CaptureFixture[str], written: list[str]) -> None:
    status, out, _ = run(capsys, "trace", written[0], "--json")
    answer = json.loads(out)
    assert (status, answer["format"], answer["command"], answer["exit"]) == (0, 1, "trace", 0)
    assert answer["data"]["journey"]["outbox"]["stage"] == "pending"
    assert answer["data"]["payload"] is None
    _, out, _ = run(capsys, "trace", PARTITION.model, ROW, "--json")
    assert len(json.loads(out)["data"]["journeys"]) == 3
    status, out, _ = run(capsys, "trace", new_event_id(), "--json")
    assert (status, json.loads(out)["data"]["journey"]) == (1, None)


@pytest.mark.usefixtures("bus")
def test_a_call_that_names_neither_event_nor_row_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in ((), ("accounts.User", "1", "--payload")):
        assert run(capsys, "trace", *words)[0] == 2
