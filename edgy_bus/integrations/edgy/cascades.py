"""Find the rows that the database deletes or changes itself, with the rows that they refer to."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, ForeignKeyConstraint, Table, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from edgy_bus.integrations.edgy.describing import EdgyModel
from edgy_bus.integrations.edgy.rows import Identity, Rows, TableRows
from edgy_bus.outbox.statements import SQLITE

_ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT")

Models = Mapping[str, EdgyModel]
"""Models by the keys of their tables."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key whose rows follow the deletion of the rows that they refer to."""

    model: EdgyModel
    constraint: ForeignKeyConstraint

    @property
    def is_deleting(self) -> bool:
        """Return whether the rows are deleted, too."""
        return (self.constraint.ondelete or "").upper() == "CASCADE"

    def refers_to(self, rows: Rows) -> ColumnElement[bool]:
        """Return the condition that a row refers to one of these rows."""
        elements = self.constraint.elements
        names = [element.column.key for element in elements]
        columns = [element.parent for element in elements]
        referred = [tuple(row[name] for name in names) for row in rows.values()]
        if len(columns) == 1:
            return columns[0].in_([values[0] for values in referred])
        return tuple_(*columns).in_(referred)


def references_to(models: Models, table: str) -> Iterator[Reference]:
    """Yield the foreign keys of published models that the database follows for a table."""
    for model in models.values():
        ours: Table = model.sender.table
        for constraint in ours.foreign_key_constraints:
            action = (constraint.ondelete or "").upper()
            if action in _ACTIONS and constraint.referred_table.key == table:
                yield Reference(model, constraint)


def following(models: Models, model: EdgyModel) -> Sequence[EdgyModel]:
    """Return a model, and the models whose rows may follow a deletion of its rows."""
    chosen = [model]
    # The list grows while it is read.
    for each in chosen:
        for reference in references_to(models, each.table_key):
            if reference.model not in chosen:
                chosen.append(reference.model)
    return chosen


class Cascade:
    """The rows that follow the deletion of rows.

    Args:
        connection: the connection of the transaction.
        models: the published models.

    Attributes:
        before: the rows that follow, as they were before.
        deleted: the keys of those that are deleted, too.
    """

    def __init__(self, connection: AsyncConnection, models: Models) -> None:
        self._connection = connection
        self._models = models
        self.before: defaultdict[EdgyModel, Rows] = defaultdict(dict)
        self.deleted: defaultdict[EdgyModel, set[Identity]] = defaultdict(set)

    async def lock(self, model: EdgyModel, rows: Rows) -> None:
        """Lock the rows that follow the deletion of rows of a model."""
        references = any(references_to(self._models, model.table_key))
        if not rows or not references or not await self._is_followed():
            return
        await self._follow(model, rows)
        # The statement itself reports its rows.
        for key in rows:
            self.before[model].pop(key, None)

    async def _is_followed(self) -> bool:
        """Return whether the database follows foreign keys; SQLite does on demand only."""
        if self._connection.dialect.name != SQLITE:
            return True
        return bool((await self._connection.exec_driver_sql("PRAGMA foreign_keys")).scalar())

    async def _follow(self, model: EdgyModel, rows: Rows) -> None:
        # Rows may refer to each other: each is followed once.
        new = {key: row for key, row in rows.items() if key not in self.deleted[model]}
        self.deleted[model].update(new)
        for reference in references_to(self._models, model.table_key) if new else ():
            referring = await self.rows(reference.model).lock(
                reference.refers_to(new), exclusive=reference.is_deleting
            )
            self.before[reference.model] = {**referring, **self.before[reference.model]}
            if reference.is_deleting:
                await self._follow(reference.model, referring)

    def rows(self, model: EdgyModel) -> TableRows:
        """Return the rows of a model."""
        return TableRows(self._connection, model, model.sender.table)
