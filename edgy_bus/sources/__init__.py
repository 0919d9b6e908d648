"""The seam between sources of events (our models, foreign ORMs) and the bus.

A source describes its models (`SourceModel`), and hands over what it is about to write (`Write`) or
what its session has written (`RowChange`).
"""

from edgy_bus.sources.base import Instance, Key, RowChange, SourceModel, TableModel, Values
from edgy_bus.sources.changes import Changes, changes_of
from edgy_bus.sources.writer import EventWriter, LocalWriter, OnModel, Source
from edgy_bus.sources.writes import (
    PAGE,
    ChangeSet,
    DeleteRow,
    InsertRows,
    SingleRow,
    UpdateRows,
    Write,
)

__all__ = [
    "PAGE",
    "ChangeSet",
    "Changes",
    "DeleteRow",
    "EventWriter",
    "InsertRows",
    "Instance",
    "Key",
    "LocalWriter",
    "OnModel",
    "RowChange",
    "SingleRow",
    "Source",
    "SourceModel",
    "TableModel",
    "UpdateRows",
    "Values",
    "Write",
    "changes_of",
]
