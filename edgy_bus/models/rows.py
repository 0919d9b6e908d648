"""The part of a model's class that querysets use. `Model` implements it, and stands above both."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

from edgy_bus.models.meta import MetaInfo
from edgy_bus.sources import Values


class RowModel(Protocol):
    """A class whose instances are rows."""

    meta: ClassVar[MetaInfo]

    def __init__(self, **values: Any) -> None: ...

    @property
    def pk(self) -> Any:
        """Return the primary key."""

    @classmethod
    def from_row(cls, row: Values) -> Self:
        """Return an instance of a row that the database returned."""

    @classmethod
    def checked_values(cls, values: Values) -> dict[str, Any]:
        """Return validated values for an update."""

    def field_values(self) -> dict[str, Any]:
        """Return every field by name."""

    def insert_values(self) -> dict[str, Any]:
        """Return the validated values of a new row."""

    def take_row(self, row: Values) -> None:
        """Set every field to the value that the database has."""

    async def save(self, values: Mapping[str, Any] | None = None) -> Self:
        """Insert or update the row."""

    async def update(self, **values: Any) -> Self:
        """Assign and write these fields."""
