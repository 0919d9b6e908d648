"""Keep how far a long action of an operator is, in the transaction of each of its steps.

`edgy_bus_meta` has an entry for each action that has begun and not ended. A step and its entry are
committed together: after a crash, the action goes on exactly where the database stands.
"""

from collections.abc import Mapping

from sqlalchemy import delete, insert, select, update

from edgy_bus.database import Database
from edgy_bus.outbox.table import meta


class ProgressStore:
    """The entries of long actions. Names begin with the kind of the action: `backfill.…`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self, kind: str) -> Mapping[str, str]:
        """Return the entries of a kind of action."""
        entries = select(meta).where(meta.c.name.startswith(f"{kind}.", autoescape=True))
        rows = (await self._database.run(entries.order_by(meta.c.name))).rows
        return {row["name"]: row["value"] for row in rows}

    async def begin(self, name: str, value: str) -> None:
        """Add an entry. Raises `IntegrityError` if there is such an entry."""
        await self._database.run(insert(meta).values(name=name, value=value))

    # Compared, because two operators may run the same action at once: only one of them goes on.

    async def advance(self, name: str, before: str, after: str) -> bool:
        """Replace an entry; return False, and change nothing, if the entry is not `before`."""
        changed = update(meta).where(meta.c.name == name, meta.c.value == before)
        return (await self._database.run(changed.values(value=after))).rowcount == 1

    async def end(self, name: str, before: str) -> bool:
        """Remove an entry; return False, and change nothing, if the entry is not `before`."""
        removed = delete(meta).where(meta.c.name == name, meta.c.value == before)
        return (await self._database.run(removed)).rowcount == 1
