"""What a chunk looks like in the ledger."""

from hypothesis import given
from hypothesis import strategies as st

from edgy_bus.brokers.base import EntryId
from edgy_bus.outbox.ledger import Placed, decode, encode, only, since

BATCH = Placed([7, 9, 8, 20], [EntryId(5, 0), EntryId(5, 1), EntryId(6, 0), EntryId(6, 1)])


def test_a_batch_is_short() -> None:
    assert encode(BATCH) == "[[5,0,7,2],[6,0,8,12]]"
    long = Placed(
        range(10**9, 10**9 + 1_000), [EntryId(1_700_000_000_000, seq) for seq in range(1_000)]
    )
    assert len(encode(long)) < 3_000


@given(st.lists(st.tuples(st.integers(1, 2**62), st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_it_comes_back_as_it_was(rows: list[tuple[int, int, int]]) -> None:
    placed = Placed([number for number, _, _ in rows], [EntryId(ms, seq) for _, ms, seq in rows])
    assert decode(encode(placed)) == placed


def test_what_lies_at_or_behind_an_entry() -> None:
    assert since(BATCH, EntryId(5, 1)) == [9, 8, 20]
    assert since(BATCH, EntryId(9, 0)) == []


def test_some_of_a_batch() -> None:
    assert only(BATCH, [20, 7, 1]) == Placed([7, 20], [EntryId(5, 0), EntryId(6, 1)])
