"""The descriptions that sources of events and the bus share: of models, of instances, of changes.

A *source* is a set of models that share a database: a registry of this library, or the mapped
classes of a foreign ORM. Code behind this seam uses these protocols and values only, never the
class of a model.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Never, Protocol, runtime_checkable

from sqlalchemy import ColumnElement, Select, Table

from edgy_bus.signals import Broadcaster

Value = Any
"""A value of a field: each field has its own type."""

Values = Mapping[str, Value]
"""Values of a row by field name."""

Key = Hashable
"""A primary key: a number, a text, a UUID. A source with composite keys makes texts of keys."""


class RowChange(NamedTuple):
    """Describe the change of a row.

    Attributes:
        key: the primary key.
        row: the row after the change, or the last state of a deleted row.
        old: None unless the row was updated. Then these are values before the change that were read
            under the row's lock; a value that nobody knows is missing.
        assigned: the fields that an update wrote; None stands for all fields.
    """

    key: Key
    row: Values
    old: Values | None = None
    assigned: Sequence[str] | None = None

    @property
    def is_update(self) -> bool:
        """Return whether the row existed before the change and exists after the change."""
        # An update without any known value has an empty `old`, which is not None.
        return self.old is not None


Schema = Mapping[str, Any]
"""A JSON Schema of draft 7."""


class RowSchemas(NamedTuple):
    """Describe the rows of a model, as events contain them.

    Attributes:
        fields: the schema of each field that may leave the database.
        definitions: what the schemas refer to, as `#/definitions/NAME`.
    """

    fields: Mapping[str, Schema]
    definitions: Mapping[str, Schema]


class UnnamedRows(Sequence[RowChange]):
    """Changed rows of which only the number is known: a set of any size fits into memory."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: object) -> Never:
        # Not an IndexError, at which an iteration would end as if there were no rows.
        raise LookupError("only the number of these rows is known")


class Instance(Protocol):
    """An application's object for a row."""

    @property
    def pk(self) -> Key | None:
        """Return the primary key; None before the first save."""

    def snapshot(self) -> Values:
        """Return the fields that may leave the database."""


class SourceModel(Protocol):
    """The description of a model."""

    # Properties, because an implementation may be frozen.

    @property
    def name(self) -> str:
        """Return the name without the service: `User`."""

    @property
    def sender(self) -> Any:
        """Return the class, which receivers get as `sender`."""

    @property
    def signals(self) -> Broadcaster:
        """Return the signals with their receivers."""

    @property
    def publish(self) -> tuple[str, ...] | None:
        """Return patterns of the signals that go to the broker; None lets the bus choose."""

    @property
    def public(self) -> tuple[str, ...]:
        """Return the fields that may leave the database."""

    def stored(self, values: Values) -> Values:
        """Return values in the form of their columns, as events contain them.

        Raises `OperationError` for a value that the field cannot have.
        """

    def read(self, row: Values) -> object:
        """Return an instance of the row that an event contains."""


@runtime_checkable
class DescribedModel(Protocol):
    """The description of a model that knows the types of its values, for contracts."""

    # Apart from `SourceModel`: the values of a source without this method have unknown types.
    def schemas(self) -> RowSchemas:
        """Return the schemas of the fields that may leave the database."""


class TableModel(SourceModel, Protocol):
    """The description of a model whose rows are the rows of a table with a single key column.

    Rows of such a model can be written by descriptions (`writes`). A model with several tables or
    key columns makes its changes itself, and hands over `RowChange` values.
    """

    @property
    def table(self) -> Table:
        """Return the table; its columns are named like the fields."""

    @property
    def pk(self) -> str:
        """Return the name of the primary key."""

    def conditions(self, lookups: Values) -> Sequence[ColumnElement[bool]]:
        """Return the conditions of lookups by their names, like `age__gte`; `pk` is the key.

        Values are converted as the fields do. Raises `OperationError` for an unknown field or
        lookup, and for a value that the field cannot have.
        """


class RowSelection(Protocol):
    """Selects the rows of a model that fulfil conditions, in the order of their keys.

    The columns of a row are named like the fields. A place is the key of a row as text.
    """

    def count(self) -> Select[Any]:
        """Return the SELECT of the number of rows, as `n`."""

    def last(self) -> Select[Any]:
        """Return the SELECT of the last row."""

    def page(self, after: str | None, until: str, limit: int) -> Select[Any]:
        """Return the SELECT that locks the next rows.

        Args:
            after: the place behind which the rows stand; None for the first rows.
            until: the place of the last row.
            limit: the most rows.
        """

    def place_of(self, row: Values) -> str:
        """Return the place of a row."""


@runtime_checkable
class PagedModel(SourceModel, Protocol):
    """The description of a model that selects its rows itself.

    The rows may be of several tables, and have keys of several columns. `TableModel` is the
    protocol of models with one table and one key column.
    """

    def selection(self, lookups: Values) -> RowSelection:
        """Return the rows that fulfil lookups, as of `TableModel.conditions`."""

    def key_of(self, row: Values) -> Key:
        """Return the key of a row."""
