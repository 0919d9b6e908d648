"""Read the values of statements: what new rows will have, and what an UPDATE assigns."""

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import BindParameter, ClauseElement, Column, Delete, Insert, Table, Update

from edgy_bus.sources import Value, Values

Change = Insert | Update | Delete
Assignments = Mapping[Value, Value]
"""Values or expressions, by columns or their names."""
Parameters = Sequence[Values] | Values | None
"""The parameters of a statement: those of several executions, those of one, or no parameters."""


def sets_of(parameters: Parameters) -> Sequence[Values]:
    """Return the parameters of each execution of a statement."""
    if parameters is None:
        return [{}]
    return [parameters] if isinstance(parameters, Mapping) else parameters


def new_rows(statement: Insert, parameters: Parameters) -> Iterator[Values]:
    """Yield the values of each row of an INSERT; values that the database computes are missing."""
    table: Value = statement.table
    groups: Value = statement._multi_values
    several: list[Assignments] = [row for group in groups for row in group]
    for each in sets_of(parameters):
        for values in several or [statement._values or {}]:
            yield _literals(table, values, each)


def assigned(statement: Update, parameters: Values) -> tuple[Values, Sequence[str]]:
    """Return the values that an UPDATE assigns, and the columns, also those that SQL computes."""
    table: Value = statement.table
    values = _literals(table, statement._values or {}, parameters)
    computed = [_name(column) for column in statement._values or {}]
    return values, list(dict.fromkeys([*values, *computed]))


def _literals(table: Table, values: Assignments, parameters: Values) -> Values:
    """Return values by the names of columns, with those of the parameters."""
    literals = {name: value for name, value in parameters.items() if name in table.c}
    for column, value in values.items():
        plain = _literal(value, parameters)
        if not isinstance(plain, ClauseElement):
            literals[_name(column)] = plain
    return literals


def _literal(value: Value, parameters: Values) -> Value:
    # SQLAlchemy wraps literals in parameters of their own, which have their values with them.
    if not isinstance(value, BindParameter):
        return value
    return parameters.get(value.key, value.effective_value)


def _name(column: Value) -> str:
    return column if isinstance(column, str) else str(column.key)


def key_sets(
    statement: Update | Delete, keys: Sequence[str], parameters: Sequence[Values]
) -> list[tuple[Value, ...]] | None:
    """Return the key of the row that each execution changes; None if rows are found otherwise.

    Args:
        statement: a statement that is executed several times.
        keys: the columns of the key.
        parameters: the parameters of each execution.
    """
    named = dict(_compared(statement))
    if set(named) != set(keys):
        return None
    return [tuple(each[named[name]] for name in keys) for each in parameters]


def _compared(statement: Update | Delete) -> Iterator[tuple[str, str]]:
    """Yield the columns that must equal a parameter, with the parameter's name."""
    for clause in statement._where_criteria:
        column, parameter = getattr(clause, "left", None), getattr(clause, "right", None)
        is_equal = getattr(getattr(clause, "operator", None), "__name__", "") == "eq"
        if is_equal and isinstance(column, Column) and isinstance(parameter, BindParameter):
            yield column.key, parameter.key
        else:
            # Another condition: the keys alone do not say which rows are meant.
            yield "", ""
