"""Changes of sets of rows, in bounded memory."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from edgy_bus.database import Database, Row
from edgy_bus.errors import DatabaseError
from edgy_bus.sources import statements, writes
from edgy_bus.sources.base import Key, RowChange, UnnamedRows, Values
from edgy_bus.sources.references import refers_to_itself
from edgy_bus.sources.statements import POSTGRESQL, Conditions
from edgy_bus.sources.writes import Write, parts


@dataclass(frozen=True, slots=True)
class ChangeSet(Write):
    """Update all rows that match to the same values, or delete them.

    Attributes:
        where: the conditions that rows of the set fulfil.
        values: the values to assign; None deletes the rows.
        expand: whether every row has its own event; otherwise a single event stands for the set.
        reports_keys: whether the caller reads the keys of the changed rows, or their number only.
    """

    where: Conditions
    values: Values | None
    expand: bool = True
    reports_keys: bool = True

    @property
    def is_update(self) -> bool:
        return self.values is not None

    @property
    def summary(self) -> Values | None:
        return None if self.expand else (self.values or {})

    def kept(self, page: list[RowChange]) -> list[RowChange]:
        """Return keys only, and no rows at all for a caller that reads their number."""
        return [RowChange(change.key, {}) for change in page] if self.reports_keys else []

    @property
    def _exclusive(self) -> bool:
        keys = statements.key_columns(self.model.table)
        return self.values is None or not keys.isdisjoint(self.values)

    @property
    def _deletes_related_rows(self) -> bool:
        return self.values is None and refers_to_itself(self.model.table)

    async def run(self, database: Database) -> Sequence[RowChange]:
        """Make the change in a single statement; the changes are like those of `kept`."""
        if database.dialect.name != POSTGRESQL and self._deletes_related_rows:
            return await self._run_pages(database)
        key, dialect = self._key, database.dialect.name
        where = statements.matching(key, self.where, dialect, exclusive=self._exclusive)
        changing = statements.change_rows(key.table, where, self.values, dialect)
        if not self.reports_keys:
            return UnnamedRows((await database.run(changing)).rowcount)
        rows = (await database.run(changing.returning(key))).rows
        return [RowChange(row[key.name], {}) for row in rows]

    async def _run_pages(self, database: Database) -> Sequence[RowChange]:
        # SQLite deletes related rows at once, with the first row that they refer to, and does not
        # count them; PostgreSQL does so at the end of the statement.
        kept: list[RowChange] = []
        count = 0
        async with database.transaction():
            async for page in self._delete_at_the_end(database, read=()):
                count += len(page)
                kept += self.kept(page)
        return kept if self.reports_keys else UnnamedRows(count)

    async def pages(self, database: Database) -> AsyncIterator[list[RowChange]]:
        columns = tuple(self.model.table.c.keys())
        if self.values is not None:
            pages = self._update_page_by_page(database, self.values)
        elif self._deletes_related_rows:
            pages = self._delete_at_the_end(database, columns)
        else:
            pages = self._delete_page_by_page(database, columns)
        async for page in pages:
            yield page

    async def _locked_pages(
        self, database: Database, read: Sequence[str]
    ) -> AsyncIterator[list[Row]]:
        """Lock the set in the order of keys, and return keys and `read` columns page by page."""
        key = self._key
        where = [*self.where]
        page = await self._lock(database, where, read)
        if len(page) == writes.PAGE:
            # A trigger may insert rows that match: without an end, the pages would never end.
            [last] = (await database.run(statements.last_key(key, where))).rows
            where.append(key <= last[key.name])
        while page:
            yield page
            # The keys of the pages that are done lie below: their changes move no row into a later
            # page.
            after = page[-1][key.name]
            full = len(page) == writes.PAGE
            page = await self._lock(database, [*where, key > after], read) if full else []

    async def _lock(self, database: Database, where: Conditions, read: Sequence[str]) -> list[Row]:
        locking = statements.lock_rows(self._key, where, read, exclusive=self._exclusive)
        return (await database.run(locking.limit(writes.PAGE))).rows

    async def _update_page_by_page(
        self, database: Database, values: Values
    ) -> AsyncIterator[list[RowChange]]:
        pk, table, dialect = self.model.pk, self.model.table, database.dialect.name
        assigned = tuple(values)
        read = [name for name in assigned if name in self.model.public]
        async for page in self._locked_pages(database, read):
            where = self._among(database, [row[pk] for row in page])
            changing = statements.change_rows(table, where, values, dialect).returning(*table.c)
            rows = {row[pk]: row for row in (await database.run(changing)).rows}
            # A row is missing where a trigger refused its update without an error.
            yield [
                RowChange(old[pk], rows[old[pk]], old, assigned) for old in page if old[pk] in rows
            ]

    async def _delete_page_by_page(
        self, database: Database, read: Sequence[str]
    ) -> AsyncIterator[list[RowChange]]:
        pk = self.model.pk
        async for page in self._locked_pages(database, read):
            keys = [row[pk] for row in page]
            refused = await self._delete(database, keys, self._among(database, keys))
            yield [RowChange(row[pk], row) for row in page if row[pk] not in refused]

    async def _delete_at_the_end(
        self, database: Database, read: Sequence[str]
    ) -> AsyncIterator[list[RowChange]]:
        """Return all pages, then delete all rows in one statement.

        Rows of the table refer to each other: the deletion of a page could delete rows of a later
        page before they are read, or change them, or be refused because a later page refers to it.
        """
        pk = self.model.pk
        keys: list[Key] = []
        async for page in self._locked_pages(database, read):
            keys += [row[pk] for row in page]
            yield [RowChange(row[pk], row) for row in page]
        # On SQLite the transaction holds the lock of the file: the same rows match.
        is_postgresql = database.dialect.name == POSTGRESQL
        where = self._among(database, keys) if is_postgresql else self.where
        if keys and await self._delete(database, keys, where):
            raise DatabaseError(
                f"a trigger refused to delete rows of {self.model.table.name} without an error; "
                "none of the set was deleted"
            )

    async def _delete(self, database: Database, keys: Sequence[Key], where: Conditions) -> set[Key]:
        """Delete locked rows; return the keys of those that a trigger refused without an error."""
        deleting = statements.change_rows(self.model.table, where, None, database.dialect.name)
        count = (await database.run(deleting)).rowcount
        refused: set[Key] = set()
        # A missing row was refused, or deleted with another row.
        if count < len(keys):
            for part in parts(keys, writes.PAGE):
                query = statements.read_rows(self._key, self._among(database, part), ())
                refused |= {row[self.model.pk] for row in (await database.run(query)).rows}
        return refused

    def _among(self, database: Database, keys: Sequence[Key]) -> Conditions:
        return [statements.among(self._key, keys, database.dialect.name)]
