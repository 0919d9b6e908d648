"""DDL for a set of tables, as text in the order in which it can be run."""

from collections.abc import Iterable

from sqlalchemy import Dialect, MetaData, Table
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable, sort_tables

Tables = MetaData | Table | Iterable[Table]


def creation(tables: Tables, dialect: Dialect) -> list[str]:
    """CREATE TABLE and CREATE INDEX, each IF NOT EXISTS; partial indexes where the dialect has them."""
    statements: list[str] = []
    for table in _sorted(tables):
        statements.append(str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)))
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        statements += [
            str(CreateIndex(index, if_not_exists=True).compile(dialect=dialect))
            for index in indexes
        ]
    return statements


def removal(tables: Tables, dialect: Dialect) -> list[str]:
    """DROP TABLE IF EXISTS, those that refer to others first."""
    ordered = reversed(_sorted(tables))
    return [str(DropTable(table, if_exists=True).compile(dialect=dialect)) for table in ordered]


def _sorted(tables: Tables) -> list[Table]:
    if isinstance(tables, MetaData):
        return list(tables.sorted_tables)
    return list(sort_tables([tables] if isinstance(tables, Table) else list(tables)))
