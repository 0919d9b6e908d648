"""How a page is cut into chunks, and chunks are put together for a mark."""

import pytest
from pydantic import ValidationError

from edgy_bus.brokers.base import EntryId, StreamHead
from edgy_bus.events import Partition
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.paging import SLOW, Paging, cut, joined
from edgy_bus.outbox.store import Chunk, Incarnations, Pending, PendingRow
from edgy_bus.settings import RelaySettings
from tests.support import PARTITION
from tests.unit.outbox.support import OTHER

CHUNK_BYTES = 1_000


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
    found = list(cut(given, 3, CHUNK_BYTES))
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


def paging(**settings: int) -> Paging:
    return Paging(RelaySettings(**{"chunk": 10, "page": 100, "page_bytes": 2_000, **settings}))


def page_of(count: int, size: int) -> list[Pending]:
    return [Pending(None, Incarnations(), rows(*[size] * count))]


def test_pages_grow_as_long_as_their_rows_are_small() -> None:
    sizes = paging()
    read = [sizes.size.rows]
    for size, count in ((1, 10), (1, 40), (200, 40), (4_000, 1), (1, 1)):
        sizes.read(page_of(count, size), 0.0)
        read.append(sizes.size.rows)
    sizes.read([], 0.0)
    assert [*read, sizes.size.rows] == [10, 40, 100, 20, 1, 4, 4]
    assert sizes.size.bytes == 2_000


def test_pages_that_fail_or_take_long_get_smaller_and_recover() -> None:
    sizes = paging()
    for _ in range(9):
        sizes.failed()
    assert sizes.size == (1, 1), "a single event, which fails for another reason than its size"
    for _ in range(12):
        sizes.read(page_of(sizes.size.rows, 1), 0.1)
    assert sizes.size == (100, 2_000)
    sizes.read(page_of(100, 1), SLOW + 0.1)
    assert sizes.size == (25, 500)


def test_chunks_without_an_answer_or_that_take_long_get_smaller_and_recover() -> None:
    sizes = paging(chunk_bytes=8_000)
    sizes.appended(0.1)
    assert sizes.chunk_bytes == 8_000
    sizes.not_appended()
    sizes.appended(SLOW + 0.1)
    assert sizes.chunk_bytes == 500
    for _ in range(4):
        sizes.appended(0.1)
    assert sizes.chunk_bytes == 8_000


def test_numbers_beyond_a_restore_belong_to_its_incarnation() -> None:
    assert [Incarnations(3, 10, 1).of(number) for number in (1, 10, 11)] == [1, 1, 3]


def test_a_chunk_that_would_keep_redis_busy_is_refused() -> None:
    assert RelaySettings(chunk=1_000).chunk == 1_000
    with pytest.raises(ValidationError, match=r"chunk[^a-z]+Input should be less than .*1000"):
        RelaySettings(chunk=1_001)
