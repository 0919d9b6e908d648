"""The steps that the relay and the writers make on the outbox tables.

Each is a statement or a transaction.

The relay's safety rests on two rules kept here. A stream's head and its pending rows are read in
one statement. Every change of state compares the head with the head that the caller read
(compare-and-set), and changes nothing if the head has moved.
"""

from edgy_bus.outbox.store.originals import Originals, OriginalStore
from edgy_bus.outbox.store.outbox import OutboxStore
from edgy_bus.outbox.store.progress import ProgressStore
from edgy_bus.outbox.store.repairs import RepairStore
from edgy_bus.outbox.store.searching import FoundRow, FoundRows, Placing, SearchStore
from edgy_bus.outbox.store.tidying import TidyStore
from edgy_bus.outbox.store.values import (
    Chunk,
    Incarnations,
    PageSize,
    Pending,
    PendingRow,
    Recognised,
    Repair,
    Standing,
    newest_of,
    strangers_of,
)

__all__ = [
    "Chunk",
    "FoundRow",
    "FoundRows",
    "Incarnations",
    "OriginalStore",
    "Originals",
    "OutboxStore",
    "PageSize",
    "Pending",
    "PendingRow",
    "Placing",
    "ProgressStore",
    "Recognised",
    "Repair",
    "RepairStore",
    "SearchStore",
    "Standing",
    "TidyStore",
    "newest_of",
    "strangers_of",
]
