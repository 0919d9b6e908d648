"""Draw the keys of new rows before the rows are inserted.

Two transactions that insert the same values of a unique column in opposite orders would deadlock.
So rows are inserted in the order of these values. The keys that the database would make rise in
the order of the inserts; keys that were drawn rise in the order in which the application gave the
rows.
"""

from functools import cache

from sqlalchemy import ColumnElement, Integer, Select, and_, bindparam, cast, func, select, true
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table
from sqlalchemy.dialects import postgresql

from edgy_bus.database import Database
from edgy_bus.sources.base import Key
from edgy_bus.sources.statements import POSTGRESQL, KeyColumn, unique_columns

_COUNT = "edgy_bus_count"
_attributes = sql_table(
    "pg_attribute", *map(sql_column, ("attrelid", "attnum", "attname", "attidentity"))
)
_defaults = sql_table("pg_attrdef", *map(sql_column, ("adrelid", "adnum", "adbin")))


async def draw_keys(database: Database, key: KeyColumn, count: int) -> list[Key]:
    """Return `count` new keys in rising order; none where the order of inserts does not matter.

    None either for a key whose default is no number of a sequence of its own, and for a role that
    has no right to draw from the sequence.
    """
    if count < 2 or database.dialect.name != POSTGRESQL or not unique_columns(key.table):
        return []
    name = database.dialect.identifier_preparer.format_table(key.table)
    rows = (await database.run(_drawing(key, name), {_COUNT: count})).rows
    return [row["key"] for row in rows]


@cache
def _drawing(key: KeyColumn, name: str) -> Select[tuple[Key]]:
    """Return the SELECT that draws keys, or returns no row if the sequence cannot be used.

    `name` is the name of the table as SQL has it.
    """
    sequence = func.pg_get_serial_sequence(name, key.name)
    default = func.pg_get_expr(_defaults.c.adbin, _defaults.c.adrelid)
    is_drawn: ColumnElement[bool] = (_attributes.c.attidentity == "d") | default.like(
        "nextval('%'::regclass)"
    )
    of_column = and_(
        _defaults.c.adrelid == _attributes.c.attrelid, _defaults.c.adnum == _attributes.c.attnum
    )
    numbers = func.generate_series(1, bindparam(_COUNT, type_=Integer)).alias("numbers")
    usable = (
        select(cast(sequence, postgresql.REGCLASS).label("sequence"))
        .select_from(_attributes.outerjoin(_defaults, of_column))
        .where(
            _attributes.c.attrelid == func.to_regclass(name),
            _attributes.c.attname == key.name,
            is_drawn,
            func.has_sequence_privilege(sequence, "USAGE"),
        )
        .cte("usable")
        .prefix_with("MATERIALIZED")
    )
    drawn = func.nextval(usable.c.sequence).label("key")
    return select(drawn).select_from(usable.join(numbers, true()))
