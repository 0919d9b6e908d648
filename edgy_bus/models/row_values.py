"""The values that an operation writes into the row of an instance, validated as far as needed."""

from collections.abc import Collection, Iterable

from edgy_bus.database import Row
from edgy_bus.errors import OperationError
from edgy_bus.models.checking import Checker, checker_of, refuse_frozen
from edgy_bus.models.fields import current_time
from edgy_bus.models.meta import MetaInfo
from edgy_bus.models.state import State, Stateful, state_of
from edgy_bus.signals.spelling import suggestion
from edgy_bus.sources import Value, is_computed

# What may be written


def require_fields(meta: MetaInfo, names: Iterable[str]) -> None:
    """Raise `OperationError` for a name that is no field of the model."""
    for name in names:
        if name not in meta.fields:
            raise OperationError(
                f"{meta.name} has no field {name!r}{suggestion(name, meta.fields, 'it has')}"
            )


def require_assignable(meta: MetaInfo, names: Collection[str]) -> None:
    """Raise an error for a name that an update cannot assign.

    Raises:
        OperationError: no field has this name, or the field is the primary key.
        pydantic.ValidationError: the field is frozen.
    """
    require_fields(meta, names)
    for name in names:
        if meta.fields[name].primary_key:
            raise OperationError(
                f"the primary key {name!r} cannot be changed: delete the row and create another"
            )
    refuse_frozen(meta.sender, names)


def require_saved(instance: Stateful, verb: str) -> None:
    """Raise `OperationError` for an instance without a row, or with a changed primary key."""
    if not state_of(instance).saved:
        raise OperationError(
            f"cannot {verb} a {instance.meta.name} that was never saved, or was deleted"
        )
    require_same_key(instance)


def require_same_key(instance: Stateful) -> None:
    """Raise `OperationError` if the primary key of a saved instance was changed."""
    if state_of(instance).saved:
        require_key(instance, instance.pk)


def require_key(instance: Stateful, key: Value) -> None:
    """Raise `OperationError` if the row of a saved instance has another key."""
    meta = instance.meta
    stored = state_of(instance).row.get(meta.pk)
    if stored != key:
        raise OperationError(
            f"the primary key {meta.pk!r} of this {meta.name} was changed from {stored!r} to "
            f"{key!r}, and the key of a row cannot be changed: set the key back, or set "
            f"{meta.pk} = None and call save() to insert a copy"
        )


# The values


def known_values(instance: Stateful) -> Row:
    """Return the fields of which an instance has a value; a partial instance lacks the others."""
    fields, names = instance.__dict__, instance.meta.fields
    state = state_of(instance)
    if not is_partial(instance, state):
        return {name: fields[name] for name in names if name in fields}
    assigned = instance.__pydantic_fields_set__
    return {name: fields[name] for name in names if name in state.row or name in assigned}


def is_partial(instance: Stateful, state: State) -> bool:
    """Return whether the instance knows a part of its row only."""
    return state.saved and len(state.row) < len(instance.meta.fields)


def unsaved_fields(instance: Stateful, written: Collection[str]) -> list[str]:
    """Return fields with a value that is not in the row, other than the `written` ones."""
    state = state_of(instance)
    return [
        name
        for name, value in known_values(instance).items()
        if name not in written and state.saved and not state.has_written(name, value)
    ]


def insert_values(instance: Stateful) -> Row:
    """Return the validated values of a new row, without a key that the database makes."""
    return without_generated(instance.meta, checked_new(instance, known_values(instance)))


def update_values(instance: Stateful, names: Collection[str]) -> Row:
    """Return the validated values of some fields of an instance, for an update of its row."""
    require_saved(instance, "update")
    require_assignable(instance.meta, names)
    state, current = state_of(instance), known_values(instance)
    for name in names:
        if name not in current:
            raise OperationError(
                f"the value of {name!r} of this {instance.meta.name} is unknown: assign a value, "
                "or call load() first"
            )
    values = {name: current[name] for name in names}
    new = [name for name, value in values.items() if not state.trusts(name, value)]
    checked = checked_change(instance, values, new) if new else values
    return {**checked, **times_of_change(instance.meta, checked)}


def times_of_change(meta: MetaInfo, values: Collection[str]) -> Row:
    """Return the times that every change sets, but for fields in `values`."""
    if not meta.changed_times:
        return {}
    now = current_time()
    return {name: now for name in meta.changed_times if name not in values}


def without_generated(meta: MetaInfo, values: Row) -> Row:
    """Return the values of a new row without those that the database makes."""
    return {
        name: value
        for name, value in values.items()
        if value is not None or name not in meta.generated
    }


def checked_new(instance: Stateful, values: Row) -> Row:
    """Return the validated values of a new row, with the times and the key that are made for it."""
    meta, state = instance.meta, state_of(instance)
    automatic = times_of_change(meta, ())
    # One time for all fields: `created` and `changed` of a new row are equal.
    now = next(iter(automatic.values()), None)
    for name in meta.created_times:
        # A copy of a row is created now, and not when the original was.
        is_copied = state.saved and state.has_written(name, values.get(name))
        if is_copied or values.get(name) is None:
            now = automatic[name] = now or current_time()
    if values.get(meta.pk) is None and meta.pk not in meta.generated:
        automatic[meta.pk] = _key_of_copy(instance, values)
    return checked_row(instance, {**values, **automatic}, automatic)


def _key_of_copy(instance: Stateful, values: Row) -> Value:
    """Return the key that the default makes. Raises `OperationError` without a default."""
    meta = instance.meta
    info = meta.sender.model_fields[meta.pk]
    if info.is_required():
        raise OperationError(
            f"a copy of this {meta.name} needs a key: {meta.pk!r} has no default, so assign one"
        )
    key = info.get_default(call_default_factory=True, validated_data=values)
    return checker_for(instance).defaults({meta.pk: key})[meta.pk]


def checked_row(instance: Stateful, values: Row, automatic: Collection[str]) -> Row:
    """Return the validated values of a row: those that are not known to be valid, and the rules.

    Args:
        instance: whose state knows what was validated before.
        values: the values that the row is to have.
        automatic: fields with values that this library has made.

    Raises:
        pydantic.ValidationError: a value, or the whole row, is not valid.
    """
    state, checker = state_of(instance), checker_for(instance)
    assigned = instance.__pydantic_fields_set__
    defaults: Row = {}
    new: Row = {}
    for name, value in values.items():
        if name in automatic or state.trusts(name, value):
            continue
        is_default = name not in assigned and state.is_default(name, value)
        (defaults if is_default else new)[name] = value
    if defaults:
        values = {**values, **checker.defaults(defaults)}
    is_part = is_partial(instance, state)
    is_whole = len(values) == len(instance.meta.fields)
    if not new and (is_whole or is_part):
        return values
    # The rules of the whole row need the whole row, and have seen what they made themselves.
    is_ruled = all(state.is_ruled(name, value) for name, value in new.items())
    if is_part or (is_whole and (checker.is_plain or is_ruled)):
        return {**values, **checker.parts(new)}
    trusted = {name: value for name, value in values.items() if name not in new}
    return checker.row(values, trusted)


def checked_change(
    instance: Stateful, values: Row, new: Collection[str], *, early: bool = False
) -> Row:
    """Return the validated values of an update.

    Args:
        instance: whose row is to be changed.
        values: the values to assign. Expressions for the database are not validated.
        new: the fields whose values were not validated before.
        early: whether to leave out rules that run after the fields.

    Raises:
        pydantic.ValidationError: a value, or the row with the values, is not valid.
    """
    state, checker = state_of(instance), checker_for(instance)
    plain = {name: value for name, value in values.items() if not is_computed(value)}
    # The rules of the whole row need the whole row.
    if is_partial(instance, state) or checker.is_plain:
        return {**values, **checker.parts({name: plain[name] for name in new})}
    row = {**instance.meta.kept(state.row), **plain}
    trusted = {name: value for name, value in row.items() if name not in new}
    checked = checker.early(row, trusted) if early else checker.row(row, trusted)
    # A rule may change other fields as well, but an update writes what it was asked to write.
    return {**values, **{name: checked[name] for name in plain}}


def checker_for(instance: Stateful) -> Checker:
    """Return the validators of the instance's class."""
    return checker_of(instance.meta.sender)
