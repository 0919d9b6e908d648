"""The headers of the Lua files are complete, and answers are read by name."""

import re
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgy_bus.brokers.base import DeadLetter, EntryId, Kept, Lease
from edgy_bus.brokers.redis import core
from edgy_bus.brokers.redis.encoding import (
    letter_arguments,
    proof_arguments,
    read_fields,
    read_letter,
)
from edgy_bus.brokers.redis.scripts import Answer
from edgy_bus.errors import LeaseLost
from edgy_bus.events import Partition

LEASE = Lease(Partition("accounts.User", "0"), "mail", "w", 1, "epoch")
SCRIPTS = {
    script.name: script.read_text("utf-8")
    for script in resources.files("edgy_bus.brokers.redis").joinpath("lua").iterdir()
}


def split(text: str) -> tuple[str, str]:
    """Return the header of a script as one line, and its body."""
    lines = text.splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    header = " ".join(line.removeprefix("--").strip() for line in lines[:end])
    return header, "\n".join(lines[end:])


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_header_names_keys_arguments_answer_and_race(name: str) -> None:
    header, _ = split(SCRIPTS[name])
    parts = re.split(r"\b(KEYS|ARGV|Answer|Race)\b {2,}", header)
    assert parts[1::2] == ["KEYS", "ARGV", "Answer", "Race"]
    assert all(part.strip() for part in parts)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_header_lists_every_refusal(name: str) -> None:
    header, body = split(SCRIPTS[name])
    answer = header.partition("Answer  ")[2].partition("Race  ")[0]
    described = re.findall(r"'(\w+)'", answer.partition("refused:")[2])
    assert set(described) == set(re.findall(r"return \{'refused', '(\w+)'\}", body))


@pytest.mark.parametrize("name", SCRIPTS)
def test_lines_are_short(name: str) -> None:
    assert [line for line in SCRIPTS[name].splitlines() if len(line) > 100] == []


def test_an_answer_is_read_by_name() -> None:
    answer = Answer.read([b"token", 7, b"epoch", b"e"])
    assert (answer[b"token"], answer[b"epoch"], answer.refusal) == (7, b"e", None)
    assert Answer.read([b"refused", b"moved"]).refusal == b"moved"
    assert Answer.read([]).refusal is None
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        Answer.read([b"token"])


def test_a_refusal_ends_the_tenure() -> None:
    with pytest.raises(LeaseLost, match=r"tenure 1\.w.* is lost"):
        core.require_tenure(Answer.read([b"refused", b"lost"]), LEASE)
    with pytest.raises(LeaseLost, match=r"lost recent data of accounts\.User:0"):
        core.require_tenure(Answer.read([b"refused", b"rolled_back"]), LEASE)
    core.require_tenure(Answer.read([]), LEASE)


@pytest.mark.parametrize("more", [0, 96, 97, 5_000])
def test_a_letter_returns_from_its_arguments_with_any_bytes(more: int) -> None:
    fields = {b"id": b"\xff\x00", b"entry": b"another", b"event.id": b"x", b"": b""}
    fields |= {b"%d:" % number: b":%d" % number * (number % 7) for number in range(more)}
    letter = DeadLetter(EntryId(5, 7), "app.receiver", "no", 3, fields)
    arguments = letter_arguments(letter)
    raw = [part if isinstance(part, bytes) else str(part).encode() for part in arguments]
    assert read_letter(read_fields(raw)) == letter
    assert len(arguments) < 300, "Lua passes about 8,000 arguments to a command"


@given(
    st.dictionaries(
        st.sampled_from([b"entry", b"receiver", b"reason", b"attempts", b"more", b"event.id"]),
        st.binary() | st.sampled_from([b"-", b"1-", b"-1", b"5:ab", b"1:a1:b", b"9" * 50 + b":"]),
    )
)
def test_any_entry_of_a_side_stream_is_read_as_a_letter(fields: dict[bytes, bytes]) -> None:
    letter = read_letter(fields)
    assert isinstance(letter.attempts, int)
    assert isinstance(letter.entry, EntryId)


def test_a_reason_may_contain_a_lone_surrogate() -> None:
    letter = DeadLetter(EntryId(5, 7), "app.receiver", "\ud800", 3, {})
    assert letter_arguments(letter)[5] == b"?"


def test_a_proof_begins_with_its_entry() -> None:
    """`settle.lua` reads the entry from the field."""
    field, event_id = proof_arguments(Kept(EntryId(5, 7), "app receiver", b"e1"))
    assert (field.split(" ")[0], event_id) == ("5-7", b"e1")
