"""Version the tables that edgy_bus keeps in a user's database, and migrate them at the start.

A set of tables has a schema version. The table `edgy_bus_meta` records that version, and the oldest
version whose releases may use the tables. A program at its start compares the tables with the needs
of its release, adds missing tables, columns and indexes, and refuses tables that only newer
releases may use. Every change so far is an addition, so releases of different versions work on the
same tables during a rolling upgrade.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sqlalchemy import (
    Column,
    Insert,
    MetaData,
    String,
    Table,
    Text,
    Update,
    insert,
    select,
    update,
)

from edgy_bus import telemetry
from edgy_bus.database import tables as ddl
from edgy_bus.database.database import Database, Issue
from edgy_bus.database.existing import Existing
from edgy_bus.errors import ConfigurationError, DatabaseError, DatabaseUnavailable
from edgy_bus.telemetry import catalogue


def meta_table(metadata: MetaData) -> Table:
    """Declare `edgy_bus_meta` in the metadata of a set of tables."""
    return Table(
        "edgy_bus_meta",
        metadata,
        Column("name", String(64), primary_key=True),
        Column("value", Text, nullable=False),
    )


_meta = meta_table(MetaData())

Entries = Mapping[str, str]
"""Rows of `edgy_bus_meta`: values by name."""


@dataclass(frozen=True)
class TableSet:
    """Describe tables that share a version.

    Attributes:
        name: a name for messages and for `edgy_bus_meta`.
        metadata: the tables, `edgy_bus_meta` included.
        version: the version of the tables that this release needs.
        compatible: the oldest version whose releases can use tables of `version`.
    """

    name: str
    metadata: MetaData
    version: int
    compatible: int

    @property
    def record(self) -> dict[str, str]:
        """Return the entries that record the version."""
        return {self._schema: str(self.version), self._compatible: str(self.compatible)}

    @property
    def _schema(self) -> str:
        return f"{self.name}.schema"

    @property
    def _compatible(self) -> str:
        return f"{self.name}.compatible"

    def is_recorded(self, entries: Entries) -> bool:
        """Return whether the entries record this version or a newer version."""
        return self._number(entries, self._schema) >= self.version

    def refuse_newer(self, entries: Entries) -> None:
        """Raise `ConfigurationError` if only newer releases may use the tables."""
        oldest = self._number(entries, self._compatible)
        if oldest > self.version:
            raise ConfigurationError(
                f"the tables of the {self.name} have schema version {entries[self._schema]} in "
                f"this database, for releases that know version {oldest} or newer; this release "
                f"knows version {self.version}: upgrade edgy-bus in this program, then start it"
            )

    @staticmethod
    def _number(entries: Entries, name: str) -> int:
        text = entries.get(name, "0")
        if not text.isdecimal():
            raise ConfigurationError(f"edgy_bus_meta holds {text!r} as {name}: not a number")
        return int(text)


@dataclass(frozen=True)
class _Due:
    """Hold the changes that the tables need."""

    statements: list[str]
    entries: dict[str, str]

    def __bool__(self) -> bool:
        return bool(self.statements or self.entries)


async def prepare(
    database: Database, tables: TableSet, defaults: Entries = MappingProxyType({})
) -> Entries:
    """Bring the tables to the version of this release, and return the entries of `edgy_bus_meta`.

    Tables that are up to date need no lock, and only the right to read.

    Args:
        database: a connected database.
        tables: the tables.
        defaults: entries to write if `edgy_bus_meta` does not have them.

    Raises:
        ConfigurationError: if the tables are too new, or if this program lacks the right to change
            them; the text contains the SQL for the owner of the tables.
        DatabaseUnavailable: if other transactions kept the tables locked.
    """
    existing, entries = await _look(database, tables)
    tables.refuse_newer(entries)
    due = _due(database, tables, defaults, existing, entries)
    if not due:
        return entries
    try:
        return await _change(database, tables, defaults)
    except DatabaseUnavailable:
        raise
    except DatabaseError as error:
        raise ConfigurationError(_refused(tables, due, entries, error)) from error


async def _look(database: Database, tables: TableSet) -> tuple[Existing, dict[str, str]]:
    existing = await database.existing(tables.metadata)
    if _meta.name not in existing.columns:
        return existing, {}
    rows = (await database.run(select(_meta))).rows
    return existing, {row["name"]: row["value"] for row in rows}


def _due(
    database: Database, tables: TableSet, defaults: Entries, existing: Existing, entries: Entries
) -> _Due:
    statements = ddl.missing_columns(tables.metadata, existing, database.dialect)
    statements += ddl.missing(tables.metadata, existing, database.dialect)
    record = {} if tables.is_recorded(entries) else tables.record
    new = {name: value for name, value in defaults.items() if name not in entries}
    return _Due(statements, record | new)


async def _change(database: Database, tables: TableSet, defaults: Entries) -> Entries:
    """Change the tables, in several attempts if other transactions lock them."""
    done, entries = await database.define(
        lambda issue: _change_once(database, issue, tables, defaults),
        f"the tables of the {tables.name}",
    )
    if done.statements:
        telemetry.emit(
            catalogue.TablesChanged(
                tables=tables.name, version=tables.version, statements=len(done.statements)
            )
        )
    return entries


async def _change_once(
    database: Database, issue: Issue, tables: TableSet, defaults: Entries
) -> tuple[_Due, Entries]:
    # Read again under the lock: another process may have made the changes in the meantime.
    existing, entries = await _look(database, tables)
    tables.refuse_newer(entries)
    due = _due(database, tables, defaults, existing, entries)
    for statement in due.statements:
        await issue(statement)
    await _write(database, entries, due.entries)
    return due, entries | due.entries


async def _write(database: Database, entries: Entries, changes: Entries) -> None:
    for statement in _entry_statements(entries, changes):
        await database.run(statement)


def _entry_statements(entries: Entries, changes: Entries) -> list[Insert | Update]:
    """Return the statements that bring entries to their new values."""
    return [
        update(_meta).where(_meta.c.name == name).values(value=value)
        if name in entries
        else insert(_meta).values(name=name, value=value)
        for name, value in changes.items()
    ]


def _refused(tables: TableSet, due: _Due, entries: Entries, error: DatabaseError) -> str:
    recording = map(_as_sql, _entry_statements(entries, due.entries))
    statements = [" ".join(statement.split()) for statement in (*due.statements, *recording)]
    script = ";\n    ".join(statements)
    return (
        f"the tables of the {tables.name} are missing or of an older release, and this program may "
        f"not change them: {error}. Run the migration as the owner of the tables (Alembic as in "
        f"docs/migrations.md, or `bus.start()` with the owner's URL), or this SQL:\n    {script};"
    )


def _as_sql(statement: Insert | Update) -> str:
    return str(statement.compile(compile_kwargs={"literal_binds": True}))
