"""The seam between sources of events (models of this library, foreign ORMs) and the bus.

A source describes its models (`SourceModel`). A source hands over each change either before the
change is made (`Write`), or after (`RowChange`).
"""

from edgy_bus.sources.base import (
    DescribedModel,
    Instance,
    Key,
    PagedModel,
    RowChange,
    RowSchemas,
    RowSelection,
    Schema,
    SourceModel,
    TableModel,
    UnnamedRows,
    Value,
    Values,
)
from edgy_bus.sources.changes import Changes, changes_of
from edgy_bus.sources.expressions import HIDDEN, Expression, is_computed
from edgy_bus.sources.seam import EventWriter, LocalWriter, OnModel, Source
from edgy_bus.sources.sets import ChangeSet
from edgy_bus.sources.writes import (
    PAGE,
    DeleteRow,
    InsertRows,
    SingleRow,
    UpdateRows,
    Write,
)

__all__ = [
    "HIDDEN",
    "PAGE",
    "ChangeSet",
    "Changes",
    "DeleteRow",
    "DescribedModel",
    "EventWriter",
    "Expression",
    "InsertRows",
    "Instance",
    "Key",
    "LocalWriter",
    "OnModel",
    "PagedModel",
    "RowChange",
    "RowSchemas",
    "RowSelection",
    "Schema",
    "SingleRow",
    "Source",
    "SourceModel",
    "TableModel",
    "UnnamedRows",
    "UpdateRows",
    "Value",
    "Values",
    "Write",
    "changes_of",
    "is_computed",
]
