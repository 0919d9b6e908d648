"""Query which tables, columns and indexes exist in a database.

A program queries them at its start, before it creates anything. `CREATE … IF NOT EXISTS` needs the
right to create even if the table exists, and `CREATE INDEX IF NOT EXISTS` waits for open writers,
while later writers queue behind it.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from edgy_bus.database.backends.base import Result
from edgy_bus.database.compiling import Arguments, Columns, Statement

Fetch = Callable[[Statement], Awaitable[Result]]

_POSTGRESQL = """
SELECT c.relname::text AS "table", a.attname::text AS "column", NULL AS "index"
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname = ANY($1::text[])
AND a.attnum > 0 AND NOT a.attisdropped AND pg_catalog.pg_table_is_visible(c.oid)
UNION ALL
SELECT NULL, NULL, c.relname::text FROM pg_catalog.pg_class c
WHERE c.relkind IN ('i', 'I') AND c.relname = ANY($2::text[])
AND pg_catalog.pg_table_is_visible(c.oid)
"""

_SQLITE = """
SELECT m.name AS "table", p.name AS "column", NULL AS "index"
FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type IN ('table', 'view')
UNION ALL
SELECT NULL, NULL, name FROM sqlite_master WHERE type = 'index'
"""

_COLUMNS = Columns(("table", "column", "index"), ())


@dataclass(frozen=True, slots=True)
class Existing:
    """Hold the names that statements of a connection can use without naming a schema.

    Attributes:
        columns: the columns of every table and view, by table.
        indexes: the names of all indexes.
    """

    columns: Mapping[str, frozenset[str]] = field(default_factory=dict)
    indexes: frozenset[str] = frozenset()


async def look(
    fetch: Fetch, dialect: str, tables: Collection[str], indexes: Collection[str]
) -> Existing:
    """Return the existing tables and indexes among these names; `fetch` runs a statement."""
    columns: dict[str, set[str]] = {}
    names: set[str] = set()
    for row in (await fetch(_query(dialect, tables, indexes))).rows:
        if row["index"] is None:
            columns.setdefault(row["table"], set()).add(row["column"])
        else:
            names.add(row["index"])
    by_table = {table: frozenset(present) for table, present in columns.items()}
    return Existing(by_table, frozenset(names))


def _query(dialect: str, tables: Collection[str], indexes: Collection[str]) -> Statement:
    arguments: Arguments = ()
    sql = _SQLITE
    if dialect == "postgresql":
        # By name, because a PostgreSQL database may have tens of thousands of other tables.
        sql, arguments = _POSTGRESQL, (list(tables), list(indexes))
    return Statement(sql, arguments, True, _COLUMNS, harmless=True)
