"""Render the DDL of tables as text, in an order in which a database can run the statements."""

from collections.abc import Iterable, Iterator

from sqlalchemy import Column, Dialect, Index, MetaData, Table
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable, DropTable, sort_tables

from edgy_bus.database.existing import Existing

Tables = MetaData | Table | Iterable[Table]


def names_of(tables: Tables, dialect: Dialect) -> tuple[list[str], list[str]]:
    """Return the names of the tables and of their indexes, as the database keeps them."""
    ordered = _sorted(tables)
    indexes = [_name_of(index, dialect) for table in ordered for index in table.indexes]
    return [table.name for table in ordered], indexes


def missing(tables: Tables, existing: Existing, dialect: Dialect) -> list[str]:
    """Return CREATE TABLE and CREATE INDEX statements for missing tables and indexes."""
    # Each with IF NOT EXISTS, because another process may create the same table at the same moment.
    statements: list[str] = []
    for table in _sorted(tables):
        if table.name not in existing.columns:
            statements.append(str(CreateTable(table, if_not_exists=True).compile(dialect=dialect)))
        # A table's indexes are a set. Sorted, two processes create indexes in the same order, and
        # the statements of two runs can be compared.
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if _name_of(index, dialect) not in existing.indexes:
                create = CreateIndex(index, if_not_exists=True)
                statements.append(str(create.compile(dialect=dialect)))
    return statements


def missing_columns(tables: Tables, existing: Existing, dialect: Dialect) -> list[str]:
    """Return ALTER TABLE statements for the missing columns of existing tables.

    Only a column that is nullable or has a default of the server can be added to a table with rows.
    """
    # SQLite has no IF NOT EXISTS here; the caller's transaction locks the whole file instead.
    unless = "IF NOT EXISTS " if dialect.name == "postgresql" else ""
    statements: list[str] = []
    for table, column in _lacking(tables, existing):
        definition = str(CreateColumn(column).compile(dialect=dialect)).strip()
        name = dialect.identifier_preparer.format_table(table)
        statements.append(f"ALTER TABLE {name} ADD COLUMN {unless}{definition}")
    return statements


def removal(tables: Tables, dialect: Dialect) -> list[str]:
    """Return DROP TABLE IF EXISTS statements; a table comes before the tables it refers to."""
    ordered = reversed(_sorted(tables))
    return [str(DropTable(table, if_exists=True).compile(dialect=dialect)) for table in ordered]


def _lacking(tables: Tables, existing: Existing) -> Iterator[tuple[Table, Column[object]]]:
    for table in _sorted(tables):
        present = existing.columns.get(table.name)
        if present is not None:
            for column in table.columns:
                if column.name not in present:
                    yield table, column


def _name_of(index: Index, dialect: Dialect) -> str:
    """Return the name under which the database keeps an index: the dialect shortens long names."""
    return dialect.identifier_preparer.format_index(index).strip('"')


def _sorted(tables: Tables) -> list[Table]:
    if isinstance(tables, MetaData):
        return list(tables.sorted_tables)
    return list(sort_tables([tables] if isinstance(tables, Table) else list(tables)))
