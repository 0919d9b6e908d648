"""The seam between sources of events (models of this library, foreign ORMs) and the bus.

A source describes its models (`SourceModel`). A source hands over each change either before the
change is made (`Write`), or after (`RowChange`).
"""

from edgy_bus.sources.base import (
    Instance,
    Key,
    RowChange,
    SourceModel,
    TableModel,
    Value,
    Values,
)
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
    "Value",
    "Values",
    "Write",
    "changes_of",
]
