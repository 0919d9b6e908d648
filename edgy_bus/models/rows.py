"""The part of a model's class that querysets use. `Model` implements it, and stands above both."""

from typing import ClassVar, Protocol, Self

from edgy_bus.database import Row
from edgy_bus.models.meta import MetaInfo
from edgy_bus.sources import Key, Value, Values


class RowModel(Protocol):
    """A class whose instances are rows."""

    meta: ClassVar[MetaInfo]

    def __init__(self, **values: Value) -> None: ...

    @property
    def pk(self) -> Key:
        """Return the primary key."""

    @classmethod
    def from_row(cls, row: Values) -> Self:
        """Return an instance of a row that the database returned."""

    @classmethod
    def checked_values(cls, values: Values) -> Row:
        """Return validated values for an update."""

    def field_values(self) -> Row:
        """Return every field by name."""

    def insert_values(self) -> Row:
        """Return the validated values of a new row."""

    def take_row(self, row: Values) -> None:
        """Set every field to the value that the database has."""

    async def save(self, values: Values | None = None) -> Self:
        """Insert or update the row."""

    async def update(self, **values: Value) -> Self:
        """Assign and write these fields."""
