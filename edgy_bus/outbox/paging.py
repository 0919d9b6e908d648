"""Choose the sizes of pages and chunks, and cut the rows of a page into chunks."""

from collections.abc import Iterable, Iterator, Sequence

from edgy_bus.events import Partition
from edgy_bus.outbox.ledger import Placed
from edgy_bus.outbox.store import Chunk, PageSize, Pending, PendingRow
from edgy_bus.portions import Portion
from edgy_bus.settings import RelaySettings

SLOW = 2.0
"""Seconds after which a page that was read or appended is too large."""


class Paging:
    """Choose the size of the next page and of its chunks, by the pages before.

    The number of rows follows their size, because the database looks at each row of a page that
    `page_bytes` cuts short. After a page that took too long, the next page is smaller: a role may
    have a `statement_timeout`, and a network may be slow.
    """

    def __init__(self, settings: RelaySettings) -> None:
        self._most = settings.page
        self._rows = min(settings.chunk, settings.page)
        self._page = Portion(settings.page_bytes)
        self._chunk = Portion(settings.chunk_bytes)

    @property
    def size(self) -> PageSize:
        """Return the size of the next page."""
        return PageSize(self._rows, self._page.size)

    @property
    def chunk_bytes(self) -> int:
        """Return the most bytes of the next chunks."""
        return self._chunk.size

    def read(self, page: Iterable[Pending], seconds: float) -> None:
        """Take note of a page that was read."""
        if seconds > SLOW:
            self.failed()
            return
        self._page.went_well()
        sizes = [len(row.data) for pending in page for row in pending.rows]
        if sizes:
            # Twice as many as fit, because the next rows may be smaller.
            fit = 2 * self._page.size * len(sizes) // max(1, sum(sizes))
            self._rows = max(1, min(self._most, fit, 4 * self._rows))

    def failed(self) -> None:
        """Read less next time."""
        self._page.went_badly()
        self._rows = max(1, self._rows // 4)

    def appended(self, seconds: float) -> None:
        """Take note of the time of the slowest chunk of a page."""
        if seconds > SLOW:
            self.not_appended()
        else:
            self._chunk.went_well()

    def not_appended(self) -> None:
        """Append less at a time."""
        self._chunk.went_badly()


def cut(rows: Sequence[PendingRow], count: int, most: int) -> Iterator[Sequence[PendingRow]]:
    """Cut rows into chunks of at most `count` events, and of `most` bytes of data."""
    start, size = 0, 0
    for end, row in enumerate(rows):
        size += len(row.data)
        # A row that is larger than a chunk is a chunk of its own.
        if end > start and (end - start == count or size > most):
            yield rows[start:end]
            start, size = end, len(row.data)
    yield rows[start:]


def joined(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Join the chunks of a partition that follow each other.

    Each stream comes once, in an order that all relays share: marks lock the rows of streams.
    """
    by_partition: dict[Partition, Chunk] = {}
    for chunk in chunks:
        before = by_partition.get(chunk.partition)
        by_partition[chunk.partition] = chunk if before is None else _joined(before, chunk)
    return [by_partition[partition] for partition in sorted(by_partition)]


def _joined(chunk: Chunk, following: Chunk) -> Chunk:
    ids = [*chunk.placed.ids, *following.placed.ids]
    entries = [*chunk.placed.entries, *following.placed.entries]
    return Chunk(chunk.partition, chunk.old, following.new, Placed(ids, entries))
