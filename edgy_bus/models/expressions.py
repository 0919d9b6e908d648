"""`F("stock") - 1`: values that the database computes from the fields of the row itself."""

import math
import operator
from collections.abc import Callable
from decimal import Decimal
from typing import TypeAlias, Union

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Double,
    Integer,
    Numeric,
    String,
    Table,
    bindparam,
)

from edgy_bus.errors import OperationError
from edgy_bus.signals.spelling import suggestion
from edgy_bus.sources import Expression, Value
from edgy_bus.sources.expressions import NUMBER, TEXT, kind_of

Sql = ColumnElement[Value]
Operand: TypeAlias = Union["Computed", int, float, Decimal, str]

_TYPES = {int: BigInteger, float: Double, Decimal: Numeric, str: String}
"""Types of numbers and texts in expressions: not those of a column, which would round a number."""

_OPERATORS: dict[str, Callable[[Sql, Sql], Sql]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}


class Computed(Expression):
    """An expression of fields, numbers and texts, made with `+ - * / %`."""

    def __add__(self, operand: Operand) -> "Computed":
        return _Calculation("+", self, operand)

    def __radd__(self, operand: Operand) -> "Computed":
        return _Calculation("+", operand, self)

    def __sub__(self, operand: Operand) -> "Computed":
        return _Calculation("-", self, operand)

    def __rsub__(self, operand: Operand) -> "Computed":
        return _Calculation("-", operand, self)

    def __mul__(self, operand: Operand) -> "Computed":
        return _Calculation("*", self, operand)

    def __rmul__(self, operand: Operand) -> "Computed":
        return _Calculation("*", operand, self)

    def __truediv__(self, operand: Operand) -> "Computed":
        return _Calculation("/", self, operand)

    def __rtruediv__(self, operand: Operand) -> "Computed":
        return _Calculation("/", operand, self)

    def __mod__(self, operand: Operand) -> "Computed":
        return _Calculation("%", self, operand)

    def __rmod__(self, operand: Operand) -> "Computed":
        return _Calculation("%", operand, self)

    def __neg__(self) -> "Computed":
        return _Calculation("-", 0, self)

    # Without this, `if F("stock"):` would be true for every row.
    def __bool__(self) -> bool:
        raise OperationError(f"{self} has a value in the database only: it is neither true nor not")


class F(Computed):
    """The value of a field at the moment when the database writes the row.

    `await item.update(stock=edgy_bus.F("stock") - 1)` loses no change that another task makes
    between a read and a write. The result must be of the kind of the assigned field: a number, or
    text that `+` puts together. It is rounded to the places of the field. Python does not validate
    it: a limit such as `ge=0` is checked only by a constraint of the database.

    Args:
        name: the name of a field, or `pk`.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise OperationError(f"F takes the name of a field, not a {type(name).__name__}")
        self.name = name

    def __repr__(self) -> str:
        return f"F({self.name!r})"

    def resolve(self, table: Table) -> Sql:
        """Return the column. Raises `OperationError` for an unknown field."""
        if self.name in table.c:
            return table.c[self.name]
        if self.name == "pk":
            [key] = table.primary_key.columns
            return key
        meant = suggestion(self.name, table.c.keys(), "it has")
        raise OperationError(f"{self!r}: the table {table.name} has no field {self.name!r}{meant}")


class _Calculation(Computed):
    """Two operands and an operator."""

    def __init__(self, sign: str, first: Operand, second: Operand) -> None:
        for operand in (first, second):
            _require_operand(operand)
        if sign in "/%" and second == 0:
            raise OperationError(f"an expression of F divides by zero with {sign}")
        self.sign, self.first, self.second = sign, first, second

    def __repr__(self) -> str:
        # Errors and logs show expressions, but no values.
        return f"({_shown(self.first)} {self.sign} {_shown(self.second)})"

    def resolve(self, table: Table) -> Sql:
        """Return the calculation in SQL.

        Raises:
            OperationError: for an unknown field, or operands that the operator does not take.
        """
        first, second = _sql(self.first, table), _sql(self.second, table)
        kinds = {kind_of(first.type), kind_of(second.type)}
        whole = isinstance(first.type, Integer) and isinstance(second.type, Integer)
        if kinds == {TEXT} and self.sign == "+":
            return first + second
        # SQLite would cut off the places of both operands.
        if kinds == {NUMBER} and (self.sign != "%" or whole):
            return _OPERATORS[self.sign](first, second)
        wanted = "whole numbers" if self.sign == "%" else "numbers, or texts with +"
        raise OperationError(f"{self!r}: {self.sign} takes {wanted}")


def _shown(operand: Operand) -> str:
    return repr(operand) if isinstance(operand, Computed) else "?"


def _require_operand(operand: object) -> None:
    if isinstance(operand, Computed):
        return
    if type(operand) not in _TYPES:
        raise OperationError(
            f"an expression of F takes fields, numbers and texts, not a {type(operand).__name__}"
        )
    # JSON, and so an event, has neither NaN nor infinities.
    if isinstance(operand, float | Decimal) and not math.isfinite(operand):
        raise OperationError(f"an expression of F takes finite numbers, not {operand}")


def _sql(operand: Operand, table: Table) -> Sql:
    if isinstance(operand, Computed):
        return operand.resolve(table)
    return bindparam(None, operand, type_=_TYPES[type(operand)], unique=True)
