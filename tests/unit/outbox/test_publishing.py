"""How a page is cut into chunks, and chunks are put together for a mark."""

import pytest

from edgy_bus.brokers.base import EntryId, StreamHead
from edgy_bus.events import Partition
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.publishing import CHUNK_BYTES, PAGE_BYTES, Paging, cut, joined
from edgy_bus.outbox.store import Chunk, Incarnations, Pending, PendingRow
from tests.support import PARTITION
from tests.unit.outbox.support import OTHER


def rows(*sizes: int) -> list[PendingRow]:
    return [
        PendingRow(at, "e", "post_save", "1", "t", None, "x" * size)
        for at, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sizes", "chunks"),
    [
        ([1] * 7, [3, 3, 1]),
        ([1] * 3, [3]),
        ([CHUNK_BYTES, 1, 1], [1, 2]),
        ([2 * CHUNK_BYTES] * 2, [1, 1]),
        ([CHUNK_BYTES // 2] * 3, [2, 1]),
    ],
)
def test_batches_are_bounded_by_events_and_by_bytes(sizes: list[int], chunks: list[int]) -> None:
    given = rows(*sizes)
    found = list(cut(given, 3))
    assert [len(one) for one in found] == chunks
    assert [row for one in found for row in one] == given


def test_batches_of_a_stream_that_follow_each_other_are_marked_as_one() -> None:
    heads = [StreamHead("e", EntryId(ms, 0), str(ms)) for ms in range(3)]

    def chunk(partition: Partition, at: int, number: int) -> Chunk:
        return Chunk(partition, heads[at], heads[at + 1], Placed([number], [EntryId(at, 0)]))

    found = joined([chunk(OTHER, 0, 1), chunk(PARTITION, 0, 2), chunk(OTHER, 1, 3)])
    assert found == [
        chunk(PARTITION, 0, 2),
        Chunk(OTHER, heads[0], heads[2], Placed([1, 3], [EntryId(0, 0), EntryId(1, 0)])),
    ]


def test_pages_grow_as_long_as_their_rows_are_small() -> None:
    paging = Paging(10, 100)
    read = [paging.rows]
    for size, count in ((1, 10), (1, 40), (PAGE_BYTES // 20, 40), (PAGE_BYTES, 1), (1, 5)):
        paging.read([Pending(None, Incarnations(), rows(*[size] * count))])
        read.append(paging.rows)
    paging.read([])
    assert [*read, paging.rows] == [10, 40, 100, 20, 10, 40, 40]


def test_numbers_beyond_a_restore_belong_to_its_incarnation() -> None:
    assert [Incarnations(3, 10, 1).of(number) for number in (1, 10, 11)] == [1, 1, 3]
