"""The operations on one instance: the values that they write, and the instance after them.

An operation changes the instance when the database has made the change, and not before. Receivers
and `save(values=…)` may change the instance earlier. Then a snapshot restores the instance if the
operation is refused, skipped or fails. After a rollback, `state` restores the instance.
"""

from collections.abc import Collection, Sequence

from edgy_bus.database import Row
from edgy_bus.errors import ObjectNotFound, SkipOperation
from edgy_bus.models.checking import refuse_frozen
from edgy_bus.models.operations import Operation, has_receivers, perform
from edgy_bus.models.row_values import (
    checked_change,
    checked_new,
    checked_row,
    checker_for,
    is_partial,
    known_values,
    require_assignable,
    require_fields,
    require_key,
    require_saved,
    times_of_change,
    unsaved_fields,
    without_generated,
)
from edgy_bus.models.state import Snapshot, Stateful, forget_row, same, state_of, take_row
from edgy_bus.sources import (
    DeleteRow,
    InsertRows,
    RowChange,
    UpdateRows,
    Values,
    Write,
    is_computed,
)
from edgy_bus.sources.statements import key_columns


async def save(instance: Stateful, values: Values) -> None:
    """Insert or update the row of an instance, with `values` assigned first."""
    meta, state = instance.meta, state_of(instance)
    require_fields(meta, values)
    refuse_frozen(meta.sender, values)
    key = values.get(meta.pk, instance.pk)
    is_update = state.saved and key is not None
    if is_update:
        require_key(instance, key)
        is_small = len(meta.fields) == 1 or is_partial(instance, state)
        if is_small and not values and known_values(instance).keys() <= {meta.pk}:
            # A row that is a key alone, as far as the instance knows, has nothing to write.
            return
    await _run(_Saving(instance, values, is_update=is_update))


async def update(instance: Stateful, values: Values) -> None:
    """Write these values into the row of an instance."""
    require_saved(instance, "update")
    require_assignable(instance.meta, values)
    if values:
        await _run(_Updating(instance, values))


async def delete(instance: Stateful) -> int:
    """Delete the row of an instance; return 1, or 0 if the row was gone already."""
    require_saved(instance, "delete")
    meta = instance.meta
    snapshot = Snapshot(instance) if has_receivers(meta, "pre_delete") else None
    write = DeleteRow(meta, "post_delete", instance.pk)
    operation = Operation(
        model=meta,
        action="delete",
        instance=instance,
        model_instance=instance,
        values=None,
        write=lambda _: write,
        apply=lambda _: forget_row(instance, snapshot),
        restore=snapshot.restore if snapshot else _nothing,
    )
    return len(await perform(operation))


async def _run(work: "_Saving | _Updating") -> None:
    try:
        await perform(work.operation)
    finally:
        # The operation refers to methods of `work`. Without the cycle, no garbage collection has to
        # find the two after every operation.
        del work.operation


class _Saving:
    """A `save` of an instance."""

    def __init__(self, instance: Stateful, values: Values, *, is_update: bool) -> None:
        self._instance = instance
        self._meta = instance.meta
        listened = has_receivers(self._meta, "pre_save")
        self._snapshot = Snapshot(instance) if listened or values else None
        if values:
            # Past pydantic, which would validate now, with `validate_assignment=True`.
            instance.__dict__.update(values)
            instance.__pydantic_fields_set__.update(values)
        current = known_values(instance)
        self._shown = self._meta.kept(current) if listened else None
        self.operation = Operation(
            model=self._meta,
            action="save",
            instance=instance,
            model_instance=instance,
            values=current,
            write=self._update if is_update else self._insert,
            apply=self._apply,
            restore=self._snapshot.restore if self._snapshot else _nothing,
            is_update=is_update,
        )

    def _insert(self, _: bool) -> Write:
        values = checked_new(self._instance, self._values())
        self.operation.values = values
        return InsertRows(self._meta, "post_save", [without_generated(self._meta, values)])

    def _update(self, reports_old: bool) -> Write:
        meta, values = self._meta, self._values()
        require_key(self._instance, values.get(meta.pk))
        times = times_of_change(meta, ())
        values = checked_row(self._instance, {**values, **times}, times)
        self.operation.values = values
        written = {name: value for name, value in values.items() if name != meta.pk}
        return _update_write(self._instance, written, "post_save", reports_old)

    def _values(self) -> Row:
        """Return the values to write, as the receivers left them."""
        values = self.operation.values
        if self._shown is None:
            return dict(values)
        require_fields(self._meta, values)
        # A change of `values` counts more than an assignment to the instance.
        chosen = {
            name: value
            for name, value in values.items()
            if name not in self._shown or not same(self._shown[name], value)
        }
        return {**known_values(self._instance), **chosen}

    def _apply(self, changes: Sequence[RowChange]) -> None:
        _apply(self._instance, changes, self._snapshot)


class _Updating:
    """An `update` of an instance."""

    def __init__(self, instance: Stateful, values: Values) -> None:
        self._instance = instance
        self._meta = instance.meta
        listened = has_receivers(self._meta, "pre_update")
        self._snapshot = Snapshot(instance) if listened else None
        new = [name for name, value in values.items() if not is_computed(value)]
        # Receivers may complete a change that the rules of the whole row would refuse.
        checked = checked_change(instance, dict(values), new, early=listened)
        self._shown = self._meta.kept(checked) if listened else checked
        self.operation = Operation(
            model=self._meta,
            action="update",
            instance=instance,
            model_instance=instance,
            values=checked,
            write=self._write,
            apply=self._apply,
            restore=self._snapshot.restore if self._snapshot else _nothing,
            is_update=True,
        )

    def _write(self, reports_old: bool) -> Write:
        values = self.operation.values
        if self._snapshot is not None:
            values = self._as_received(values, self._snapshot.changes())
        if not values:
            # A receiver has taken everything out.
            raise SkipOperation
        values = {**values, **times_of_change(self._meta, values)}
        self.operation.values = values
        return _update_write(self._instance, values, "post_update", reports_old)

    def _as_received(self, values: Values, assigned: Values) -> Row:
        """Return the validated values that receivers left.

        Args:
            values: the values of the operation, which receivers may have changed.
            assigned: what receivers assigned to the instance. It counts less than `values`.
        """
        instance, meta = self._instance, self._meta
        received = {**assigned, **values}
        require_assignable(meta, received)
        state, shown = state_of(instance), self._shown
        put = [
            name
            for name, value in values.items()
            if not (name in shown and same(shown[name], value)) and not is_computed(value)
        ]
        # With `validate_assignment=True`, pydantic has validated an assigned value already.
        new = put + [
            name
            for name, value in assigned.items()
            if name not in values and not state.trusts(name, value)
        ]
        if not new and not checker_for(instance).has_later_rules:
            return received
        return checked_change(instance, received, new)

    def _apply(self, changes: Sequence[RowChange]) -> None:
        values = self.operation.values
        unsaved = unsaved_fields(self._instance, values)
        _apply(self._instance, changes, self._snapshot, unsaved)
        row = changes[0].row
        # Receivers get the value that the database has computed.
        self.operation.values = {
            name: row[name] if is_computed(value) else value for name, value in values.items()
        }


def _update_write(instance: Stateful, values: Row, signal: str, reports_old: bool) -> Write:
    meta, state = instance.meta, state_of(instance)
    # `save` writes all columns. A lock that blocks inserts of child rows is necessary only for a
    # key that changes, as far as this instance knows.
    keys = key_columns(meta.table)
    exclusive = any(
        name in keys and not state.has_written(name, value) for name, value in values.items()
    )
    return UpdateRows(meta, signal, [(instance.pk, values)], exclusive, reports_old)


def _apply(
    instance: Stateful,
    changes: Sequence[RowChange],
    snapshot: Snapshot | None,
    unsaved: Collection[str] = (),
) -> None:
    """Take over the row as written."""
    rows = [change.row for change in changes]
    take_row(instance, only_row(instance, rows), unsaved, snapshot)


def only_row(instance: Stateful, rows: Sequence[Values]) -> Values:
    """Return the row of an instance. Raises `ObjectNotFound` if the row is gone."""
    if not rows:
        meta = instance.meta
        raise ObjectNotFound(
            f"the {meta.name} with {meta.pk} {instance.pk!r} is not there any more"
        )
    return rows[0]


def _nothing() -> None:
    """Undo nothing: no receiver has seen the instance, and nothing was assigned to it."""
