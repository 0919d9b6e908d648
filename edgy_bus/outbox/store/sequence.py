"""Check the sequence of the outbox ids: its numbers must rise in the order in which they are drawn.

The id of an event is drawn while the lock of its row is held, and is the event's place in the order
of the row. A sequence with `CACHE 20` gives each connection twenty numbers in advance: a connection
that is used later then writes smaller ids, receivers with an inbox skip its events, and the others
get them in the wrong order.
"""

from sqlalchemy import text

from edgy_bus.database import Database
from edgy_bus.errors import ConfigurationError
from edgy_bus.outbox.table import outbox

# The sequence of an identity column depends on the column; the default of any other column depends
# on the sequence.
_SEQUENCES = text(
    """
    SELECT CAST(CAST(seqrelid AS regclass) AS text) AS name, seqcache, seqincrement, seqcycle
    FROM pg_sequence
    WHERE seqrelid IN (
        SELECT objid FROM pg_depend
        WHERE classid = CAST('pg_class' AS regclass) AND refobjid = to_regclass(:outbox)
            AND refobjsubid > 0 AND deptype IN ('a', 'i')
        UNION
        SELECT refobjid FROM pg_depend
        JOIN pg_attrdef ON pg_attrdef.oid = objid AND classid = CAST('pg_attrdef' AS regclass)
        WHERE adrelid = to_regclass(:outbox) AND refclassid = CAST('pg_class' AS regclass)
    )
    """
)


async def check_sequence(database: Database) -> None:
    """Refuse a sequence of PostgreSQL whose numbers do not rise from draw to draw.

    Raises:
        ConfigurationError: with the statement that repairs the sequence.
    """
    for row in (await database.run(_SEQUENCES, {"outbox": outbox.name})).rows:
        if row["seqcache"] > 1 or row["seqincrement"] < 1 or row["seqcycle"]:
            raise ConfigurationError(
                f"the sequence {row['name']} of the outbox has CACHE {row['seqcache']}, INCREMENT "
                f"{row['seqincrement']}{', CYCLE' if row['seqcycle'] else ''}: its numbers would "
                "not rise from event to event of a row, and receivers would skip events. Stop "
                "every program that writes to this database, run this SQL, and start them again:"
                f"\n    {_repair(row['name'])}"
            )


def _repair(name: str) -> str:
    """Return the statements after which a sequence rises from the newest event."""
    # The range and the present number of a sequence that runs backwards fit no other sequence.
    literal = name.replace("'", "''")
    options = "INCREMENT 1 MINVALUE 1 NO MAXVALUE START 1 RESTART CACHE 1 NO CYCLE"
    move = f"setval('{literal}', greatest(max(id), 0) + 1, false) FROM {outbox.name}"
    return f"ALTER SEQUENCE {name} {options}; SELECT {move};"
