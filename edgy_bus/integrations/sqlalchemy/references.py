"""Follow the foreign keys by which a database deletes or changes rows of its own accord.

`ON DELETE CASCADE`, `SET NULL` and `SET DEFAULT` change rows without a statement of the session.
The rows that refer to deleted rows are locked and read before, and read again afterwards.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from sqlalchemy import Column, ForeignKeyConstraint, Table, select, tuple_
from sqlalchemy.orm import Session

from edgy_bus.errors import OperationError
from edgy_bus.integrations.row_changes import DELETE, UPDATE, Changed, updated
from edgy_bus.integrations.sqlalchemy import rows
from edgy_bus.integrations.sqlalchemy.flushing import Reported, connection_of
from edgy_bus.integrations.sqlalchemy.mapping import ClassMapper, MappedModel, by_class
from edgy_bus.integrations.sqlalchemy.rows import LARGEST, Identity, Rows
from edgy_bus.sources import RowChange, Value

_CHANGING = ("CASCADE", "SET NULL", "SET DEFAULT")


class Reference(NamedTuple):
    """A foreign key by which the database changes the rows of a class.

    Attributes:
        model: the model of the rows that refer to others.
        columns: the columns of the key.
        referred: the columns that they refer to.
        deletes: whether the rows are deleted, and not changed.
    """

    model: MappedModel
    columns: Sequence[Column[Value]]
    referred: Sequence[Column[Value]]
    deletes: bool


class Referred(Protocol):
    """The part of a source that knows its foreign keys."""

    def references_to(self, model: MappedModel) -> Sequence[Reference]:
        """Return the foreign keys to the rows of a model."""

    def model_of(self, mapper: ClassMapper) -> MappedModel | None:
        """Return the description of a mapped class."""


def references(
    model: MappedModel, owners: Iterable[tuple[Table, MappedModel]]
) -> Iterator[Reference]:
    """Yield the foreign keys to the rows of a model.

    Args:
        model: the model.
        owners: the tables of published classes, each with the model of its class.
    """
    for table, owner in owners:
        for key in table.foreign_key_constraints:
            action = (key.ondelete or "").upper()
            is_ours = key.referred_table in model.mapper.tables
            if action in _CHANGING and is_ours and not _joins(key, owner, model):
                referred = [element.column for element in key.elements]
                yield Reference(owner, list(key.columns), referred, action == "CASCADE")


def _joins(key: ForeignKeyConstraint, owner: MappedModel, model: MappedModel) -> bool:
    """Return whether a foreign key joins the tables of one row of a class hierarchy."""
    is_hierarchy = owner.mapper.base_mapper is model.mapper.base_mapper
    return is_hierarchy and set(key.columns) == set(key.table.primary_key)


class Reached:
    """The rows that refer to rows which a session deletes, as they were before.

    Args:
        session: the session.
        source: knows the foreign keys.
    """

    def __init__(self, session: Session, source: Referred) -> None:
        self._session = session
        self._source = source
        self._before: dict[MappedModel, Rows] = {}

    def lock(self, model: MappedModel, keys: Sequence[Identity]) -> None:
        """Lock the rows that refer to rows with these keys, and those that refer to the rows.

        The rows with the keys must be locked, so that no other row comes to refer to them.
        """
        for reference in self._source.references_to(model):
            for concrete, referring in self._referring(model, keys, reference).items():
                locked = self._before.setdefault(concrete, {})
                missing = [key for key in referring if key not in locked]
                connection = connection_of(self._session, concrete)
                locked.update(rows.lock(connection, concrete, missing, exclusive=reference.deletes))
                # Rows that are locked already have been followed: rows may refer in a circle.
                if missing and reference.deletes:
                    self.lock(concrete, missing)

    def has(self, model: MappedModel, key: Identity) -> bool:
        """Return whether a row refers to a row that is deleted."""
        return key in self._before.get(model, ())

    def changed(self, reported: Reported) -> Iterator[Changed[MappedModel]]:
        """Yield what the database has changed, but of rows that are reported already."""
        # Read again, because a database may not enforce its foreign keys: SQLite does so on demand.
        for model, before in self._before.items():
            keys = [key for key in before if (model, key) not in reported]
            after = rows.read(connection_of(self._session, model), model, keys)
            missing = [key for key in keys if key not in after]
            deleted = [RowChange(model.key_of(before[key]), before[key]) for key in missing]
            kept = [updated(model, before[key], after[key], ()) for key in after]
            yield Changed(model, DELETE, deleted)
            yield Changed(model, UPDATE, [change for change in kept if change.assigned])

    def _referring(
        self, model: MappedModel, keys: Sequence[Identity], reference: Reference
    ) -> dict[MappedModel, list[Identity]]:
        connection = connection_of(self._session, model)
        mapper = reference.model.mapper
        kind = mapper.polymorphic_on
        columns = [*mapper.primary_key, *(() if kind is None else (kind,))]
        selecting = select(*columns).select_from(mapper.persist_selectable)
        referring: list[Sequence[Value]] = []
        # The columns that are referred to may be others than the key, and secret.
        for part in rows.parts(keys):
            referred = select(*reference.referred).select_from(model.mapper.persist_selectable)
            values = connection.execute(referred.where(rows.matching(model, part))).all()
            among = tuple_(*reference.columns).in_([tuple(each) for each in values])
            referring += connection.execute(selecting.where(among)).all()
            if len(referring) > LARGEST:
                raise OperationError(
                    f"the database would delete or change more than {LARGEST:,} rows of "
                    f"{reference.model.name} with rows of {model.name}: delete or change those rows"
                    " first, in parts"
                )
        return by_class(reference.model, referring, self._source.model_of)
