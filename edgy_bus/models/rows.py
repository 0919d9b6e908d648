"""The part of a model's class that querysets use. `Model` implements it, and stands above both."""

from collections.abc import Collection
from typing import Protocol, Self

from edgy_bus.database import Row
from edgy_bus.models.state import Snapshot, Stateful
from edgy_bus.sources import Value, Values


class RowModel(Stateful, Protocol):
    """A class whose instances are rows."""

    def __init__(self, **values: Value) -> None: ...

    @classmethod
    def model_validate(
        cls, obj: Value, *, by_alias: bool | None = None, by_name: bool | None = None
    ) -> Self:
        """Return an instance with validated values; see pydantic."""

    @classmethod
    def from_row(cls, row: Values) -> Self:
        """Return an instance of a row that the database returned."""

    @classmethod
    def checked_values(cls, values: Values) -> Row:
        """Return validated values for the update of a set."""

    def field_values(self) -> Row:
        """Return every field by name."""

    def insert_values(self) -> Row:
        """Return the validated values of a new row."""

    def update_values(self, names: Collection[str]) -> Row:
        """Return the validated values of some fields, for an update of the instance's row."""

    def take_row(
        self,
        row: Values,
        written: Collection[str] | None = None,
        before: Snapshot | None = None,
    ) -> None:
        """Set the fields to the values that the database has."""

    async def save(self, values: Values | None = None) -> Self:
        """Insert or update the row."""

    async def update(self, **values: Value) -> Self:
        """Assign and write these fields."""
