"""Render the DDL of tables as text, in an order in which a database can run the statements."""

from collections.abc import Iterable

from sqlalchemy import Dialect, MetaData, Table
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable, sort_tables

Tables = MetaData | Table | Iterable[Table]


def creation(tables: Tables, dialect: Dialect) -> list[str]:
    """Return CREATE TABLE and CREATE INDEX statements, each with IF NOT EXISTS."""
    statements: list[str] = []
    for table in _sorted(tables):
        statements.append(str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)))
        # A table's indexes are a set. Sorted, two processes create the same indexes in the same
        # order, and the statements of two runs can be compared.
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            create = CreateIndex(index, if_not_exists=True)
            statements.append(str(create.compile(dialect=dialect)))
    return statements


def removal(tables: Tables, dialect: Dialect) -> list[str]:
    """Return DROP TABLE IF EXISTS statements; a table comes before the tables it refers to."""
    ordered = reversed(_sorted(tables))
    return [str(DropTable(table, if_exists=True).compile(dialect=dialect)) for table in ordered]


def _sorted(tables: Tables) -> list[Table]:
    if isinstance(tables, MetaData):
        return list(tables.sorted_tables)
    return list(sort_tables([tables] if isinstance(tables, Table) else list(tables)))
