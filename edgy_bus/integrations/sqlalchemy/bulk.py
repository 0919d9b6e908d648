"""The bulk methods of a session, as statements whose rows have events."""

from collections.abc import Iterable, Mapping
from itertools import groupby

from sqlalchemy import Insert, Update, insert, inspect, update
from sqlalchemy.orm import InstanceState, Session

from edgy_bus.integrations.sqlalchemy.mapping import ClassMapper
from edgy_bus.signals import DESCRIPTION
from edgy_bus.sources import Value, Values


class BulkMethods(Session):
    """Replaces the bulk methods, which call no handlers, by the statements that stand for them.

    With `return_defaults` the methods are those of SQLAlchemy, whose statements are refused.
    """

    def bulk_save_objects(
        self,
        objects: Iterable[object],
        return_defaults: bool = False,
        update_changed_only: bool = True,
        preserve_order: bool = True,
    ) -> None:
        """Insert new objects, and update the rows of detached ones."""
        objects = list(objects)
        kinds = {_kind(each)[0] for each in objects}
        if return_defaults or not all(map(_is_described, kinds)):
            super().bulk_save_objects(objects, return_defaults, update_changed_only, preserve_order)
            return
        if not preserve_order:
            objects.sort(key=lambda each: (id(_kind(each)[0]), _kind(each)[1]))
        for (mapper, is_update), alike in groupby(objects, _kind):
            states = [_state(each) for each in alike]
            if is_update:
                changes = [_changed(mapper, each, update_changed_only) for each in states]
                self._change(update(mapper.class_), changes)
            else:
                self._change(insert(mapper.class_), [_columns(mapper, each) for each in states])

    def bulk_insert_mappings(
        self,
        mapper: Value,
        mappings: Iterable[dict[str, Value]],
        return_defaults: bool = False,
        render_nulls: bool = False,
    ) -> None:
        """Insert rows."""
        described: ClassMapper = inspect(mapper)
        if return_defaults or not _is_described(described):
            super().bulk_insert_mappings(mapper, mappings, return_defaults, render_nulls)
        else:
            # The rows of the caller stay as they are, as with the bulk method.
            self._change(insert(described.class_), list(mappings), render_nulls=render_nulls)

    def bulk_update_mappings(self, mapper: Value, mappings: Iterable[dict[str, Value]]) -> None:
        """Update rows by their keys."""
        described: ClassMapper = inspect(mapper)
        if _is_described(described):
            self._change(update(described.class_), list(mappings))
        else:
            super().bulk_update_mappings(mapper, mappings)

    def _change(self, statement: Insert | Update, rows: list[Values], **options: bool) -> None:
        if rows:
            # As the bulk methods do: no flush comes before, and objects in memory stay as they are.
            if isinstance(statement, Update):
                options["synchronize_session"] = False
            self.execute(statement, rows, execution_options={"autoflush": False, **options})


def _state(target: object) -> InstanceState[Value]:
    state: InstanceState[Value] = inspect(target)
    return state


def _kind(target: object) -> tuple[ClassMapper, bool]:
    """Return the mapper of an object, and whether its row exists."""
    state = _state(target)
    return state.mapper, state.key is not None


def _is_described(mapper: ClassMapper) -> bool:
    return DESCRIPTION in vars(mapper.class_)


def _columns(mapper: ClassMapper, state: InstanceState[Value]) -> Values:
    names = (name for name, _ in mapper.columns.items())
    return {name: state.dict[name] for name in names if name in state.dict}


def _changed(mapper: ClassMapper, state: InstanceState[Value], changed_only: bool) -> Values:
    values: Mapping[str, Value] = _columns(mapper, state)
    if not changed_only:
        return values
    fixed = [*mapper.primary_key]
    if mapper.version_id_col is not None:
        fixed.append(mapper.version_id_col)
    kept = {mapper.get_property_by_column(column).key for column in fixed}
    return {
        name: value
        for name, value in values.items()
        if name in kept or name in state.committed_state
    }
