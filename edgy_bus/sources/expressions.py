"""Values that the database computes from the row, at the moment when it writes the row."""

from collections.abc import Iterable

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Enum,
    Float,
    Integer,
    Numeric,
    String,
    Table,
    bindparam,
    cast,
    func,
)
from sqlalchemy.sql.visitors import iterate, replacement_traverse

from edgy_bus.database import Converted, ExactDecimal
from edgy_bus.errors import OperationError
from edgy_bus.sources.base import Value

Sql = ColumnElement[Value]


class Expression:
    """An expression over the fields of a row, independent of SQLAlchemy."""

    # Not an abstract class: every value of every update is compared with this class, and the
    # comparison with an abstract class costs several times as much.

    def resolve(self, table: Table) -> Sql:
        """Return the expression in SQL. Raises `OperationError` for an unknown field."""
        raise NotImplementedError


_COMPUTED = (Expression, ColumnElement)

HIDDEN = "secret"
"""The key in the `info` of a column: whether its values stay in the database."""


def is_computed(value: object) -> bool:
    """Return whether a value is an expression that the database computes."""
    return isinstance(value, _COMPUTED)


def computed(table: Table, name: str, value: Expression | Sql, dialect: str) -> Sql:
    """Return the expression that the column `name` is set to.

    Raises:
        OperationError: for an unknown field, a column of another table, a text that is assigned to
            a number, a number that the database stores as text, or a secret that is assigned to
            a column that events contain.
    """
    column = table.c[name]
    element = value.resolve(table) if isinstance(value, Expression) else value
    for source in element._from_objects:
        if source is not table:
            raise OperationError(
                f"the expression for {name!r} reads {source}: an update can compute values from "
                f"columns of {table.name} only"
            )
    kind, wanted = kind_of(element.type), kind_of(column.type)
    # The type of a function of SQLAlchemy may be unknown.
    if isinstance(value, Expression) and kind != wanted:
        raise OperationError(f"{name!r} is a {wanted} and {value!r} a {kind}")
    _require_computable(name, [column, *iterate(element)], dialect)
    if not column.info.get(HIDDEN):
        _refuse_secrets(name, iterate(element))
    return _stored(column.type, element)


def _require_computable(name: str, parts: Iterable[object], dialect: str) -> None:
    """Refuse to compute with numbers that SQLite stores as text."""
    if dialect != "sqlite":
        return
    for part in parts:
        if isinstance(part, Column) and getattr(part.type, "is_text", False):
            raise OperationError(
                f"the expression for {name!r} uses {part.name!r}, and SQLite cannot compute with "
                "decimals of more than 15 digits: read the row with for_update(), and assign the "
                "result"
            )


def _refuse_secrets(name: str, parts: Iterable[object]) -> None:
    """Refuse to compute a value from a secret: the event of the change would contain the result."""
    for part in parts:
        if isinstance(part, Column) and part.info.get(HIDDEN):
            raise OperationError(
                f"the expression for {name!r} uses the secret {part.name!r}, and events contain "
                f"{name!r}: give {name!r} secret=True, or assign a value"
            )


NUMBER, TEXT = "number", "text"


def kind_of(kind: object) -> str:
    """Return `NUMBER` or `TEXT`, in which expressions can calculate, or the name of a type."""
    if isinstance(kind, Integer | Numeric | Float | ExactDecimal):
        return NUMBER
    # An Enum is stored as text, but stands for a member.
    if isinstance(kind, String) and not isinstance(kind, Enum):
        return TEXT
    if isinstance(kind, Converted) and kind.conversion is not None:
        return kind.conversion.name
    return type(kind).__name__


def _stored(kind: object, element: Sql) -> Sql:
    """Round to the type of a column, as a column of PostgreSQL does when it is assigned."""
    # A column of SQLite takes any number, and an instance would then hold another type of number
    # than the field declares. Through NUMERIC, because PostgreSQL rounds binary numbers otherwise.
    if isinstance(kind, Integer) and not isinstance(element.type, Integer):
        return cast(func.round(cast(element, Numeric)), kind)
    if isinstance(kind, ExactDecimal):
        return func.round(cast(element, Numeric), kind.places)
    return element


class Formula:
    """The expression that a column is set to, equal to each expression of the same shape.

    Expressions of one shape differ in the values of their parameters only: `stock - 1` and
    `stock - 2` are one statement.
    """

    __slots__ = ("_element", "_hash", "_shape", "_values", "column")

    def __init__(self, column: str, element: Sql) -> None:
        self.column = column
        self._element = element
        key = element._generate_cache_key()
        # Without a cache key nobody knows the shape: the formula is equal to itself only.
        self._shape: tuple[object, ...] = (id(element),) if key is None else key.key
        self._values: list[BindParameter[Value]] = [] if key is None else list(key.bindparams)
        self._hash = hash((column, self._shape))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, value: object) -> bool:
        if not isinstance(value, Formula):
            return NotImplemented
        return self.column == value.column and self._shape == value._shape

    def parameters(self) -> dict[str, object]:
        """Return the values of the parameters, by the names that `sql` uses."""
        values = enumerate(self._values)
        return {self._name(at): parameter.effective_value for at, parameter in values}

    def sql(self) -> Sql:
        """Return the expression with a named parameter for each value."""
        at = {id(parameter): number for number, parameter in enumerate(self._values)}

        def named(part: Value, **_: Value) -> Value:
            if not isinstance(part, BindParameter) or id(part) not in at:
                return None
            return bindparam(
                self._name(at[id(part)]),
                type_=part.type,
                expanding=part.expanding,
                literal_execute=part.literal_execute,
            )

        # SQLAlchemy's type of the function cannot be written down outside of SQLAlchemy.
        replace: Value = named
        element: Sql = replacement_traverse(self._element, {}, replace)
        return element

    def _name(self, at: int) -> str:
        return f"computed_{self.column}_{at}"
