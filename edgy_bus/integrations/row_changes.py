"""Describe the changes of rows that foreign ORMs make: what all integrations share."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from edgy_bus.sources import RowChange, SourceModel

M_co = TypeVar("M_co", bound=SourceModel, covariant=True)

SAVE, UPDATE, DELETE = "save", "update", "delete"


class Changed(NamedTuple, Generic[M_co]):
    """Changes of rows of a model that the same signal reports."""

    model: M_co
    action: str
    changes: Sequence[RowChange]
