"""Return the result that the caller of a changed statement expects."""

from collections.abc import Iterable, Sequence
from types import SimpleNamespace

from sqlalchemy import CursorResult, Insert, Row, Table
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData

from edgy_bus.sources import Value, Values


class Answer(IteratorResult[Value]):
    """A result whose rows are known, with the attributes that databasez reads.

    Args:
        names: the names of the columns.
        rows: the rows.
        rowcount: the number of changed rows.
        keys: the keys of new rows, for an INSERT whose caller has not asked for columns.
    """

    def __init__(
        self,
        names: Sequence[str],
        rows: Iterable[tuple[Value, ...]],
        rowcount: int,
        keys: Sequence[Row[Value]] | None = None,
    ) -> None:
        super().__init__(SimpleResultMetaData(names), iter(rows))
        self.rowcount = rowcount
        self.is_insert = keys is not None
        self.inserted_primary_key_rows = keys
        self.inserted_primary_key = keys[0] if keys else None
        # databasez decides by it whether the caller gets rows or keys.
        self.context = SimpleNamespace(_is_explicit_returning=bool(names))


def returning_all(statement: Insert, table: Table) -> Insert:
    """Return an INSERT that returns all columns, first those that its caller has asked for."""
    # Those first, so that the rows of the caller are the beginnings of the whole rows.
    asked = list(statement.exported_columns)
    return statement.returning(*(each for each in table.c if each not in asked))


def answer_insert(
    statement: Insert, table: Table, result: CursorResult[Value]
) -> tuple[Answer, list[Values]]:
    """Return the result for the caller of an INSERT, and the whole rows by names of columns.

    Args:
        statement: the INSERT as its caller has made it.
        table: its table.
        result: the result of `returning_all`.
    """
    rows = result.all()
    whole: list[Values] = [
        {name: row._mapping[column] for name, column in table.c.items()} for row in rows
    ]
    asked = len(statement.exported_columns)
    if asked:
        names = list(result.keys())[:asked]
        return Answer(names, [tuple(row[:asked]) for row in rows], len(rows)), whole
    key = [name for name, column in table.c.items() if column.primary_key]
    keys: Value = IteratorResult(
        SimpleResultMetaData([table.c[name].name for name in key]),
        iter([tuple(row[name] for name in key) for row in whole]),
    )
    return Answer([], [], len(rows), keys.all()), whole
