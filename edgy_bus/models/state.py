"""The knowledge of an instance about its row, as one value.

A state answers four questions about an instance:

- Is there a row? `saved`: the row was read or written, and not deleted since.
- What does the row contain? `row`: the values as last read or written. A field that is missing here
  is unknown: a worker gets instances without secret fields, and without fields that are younger
  than the event.
- Which values were validated without being in the row? `validated`.
- Was the instance hashed before the row had a key? `token` keeps the hash.

A state never changes: an operation replaces the state of an instance. So copies of an instance may
share a state, and the state before an operation can be put back.
"""

from collections.abc import Collection, Iterable
from typing import Any, ClassVar, NamedTuple, Protocol, Self
from weakref import WeakValueDictionary

from edgy_bus.database import Row
from edgy_bus.models.meta import MetaInfo
from edgy_bus.sources import Instance, Value, Values
from edgy_bus.sources.changes import differ

STATE = "_edgy_state"
"""The private attribute that holds the state of an instance."""

_MISSING: Value = object()

_EMPTY: Row = {}


class Validated(NamedTuple):
    """The values of the construction, or of an assignment with `validate_assignment=True`.

    Attributes:
        values: the values that the validation of the fields returned, and the defaults.
        given: the fields whose values the application gave; the others are defaults.
        ruled: values that the model's own code (`model_post_init`, or a rule of the whole row) has
            put in the place of others. The validators of the fields have not seen them. None while
            that code is running.
    """

    values: Row = _EMPTY
    given: Collection[str] = frozenset()
    ruled: Row | None = _EMPTY


_NOTHING = Validated()


class HashToken:
    """The hash of a row that was hashed before the row had a key."""

    # Copies of an instance are the same row, so they share the token.
    def __deepcopy__(self, memo: object) -> Self:
        return self


class State:
    """What an instance knows of its row; see the module."""

    __slots__ = ("row", "saved", "token", "validated")

    def __init__(
        self,
        saved: bool = False,
        row: Row = _EMPTY,
        validated: Validated = _NOTHING,
        token: HashToken | None = None,
    ) -> None:
        # Positional arguments, and no dataclass: `from_row` makes a state for every row.
        self.saved = saved
        self.row = row
        self.validated = validated
        self.token = token

    def with_token(self, token: HashToken | None) -> "State":
        """Return this state with the hash of the instance."""
        if token is self.token:
            return self
        return State(self.saved, self.row, self.validated, token)

    def with_validated(self, validated: Validated) -> "State":
        """Return this state with other validated values."""
        return State(self.saved, self.row, validated, self.token)

    def has_written(self, name: str, value: Value) -> bool:
        """Return whether the row is known to contain this value."""
        return name in self.row and same(self.row[name], value)

    def trusts(self, name: str, value: Value) -> bool:
        """Return whether the value needs no validation: from the database, or validated before."""
        if name in self.row and same(self.row[name], value):
            return True
        validated = self.validated
        return name in validated.given and same(validated.values[name], value)

    def is_default(self, name: str, value: Value) -> bool:
        """Return whether the value is the default that the construction used."""
        validated = self.validated
        if name in validated.given or name not in validated.values:
            return False
        return same(validated.values[name], value)

    def is_ruled(self, name: str, value: Value) -> bool:
        """Return whether the model's own code made this value at the construction."""
        ruled = self.validated.ruled
        return ruled is not None and name in ruled and same(ruled[name], value)


BLANK = State()
"""The state of an instance of which nothing is known yet."""


def blank() -> State:
    """Return `BLANK`: the default of the private attribute, which pydantic would copy."""
    return BLANK


def same(kept: Value, value: Value) -> bool:
    """Return whether a value is as it was when it was kept.

    Values of different types are different: 1, True and 1.0 are equal, but a column stores each of
    them in another way.
    """
    if kept is value:
        return True
    return type(kept) is type(value) and not differ(kept, value)


class Stateful(Instance, Protocol):
    """An instance of a model."""

    __pydantic_extra__: dict[str, Any] | None
    __pydantic_fields_set__: set[str]
    __pydantic_private__: dict[str, Any] | None

    meta: ClassVar[MetaInfo]


def state_of(instance: Stateful) -> State:
    """Return the state of an instance."""
    private = instance.__pydantic_private__
    if private is None:
        return BLANK
    state: State | Row = private.get(STATE, BLANK)
    if isinstance(state, dict):
        # `from_row` leaves the row alone: most instances are read, and no operation follows.
        private[STATE] = state = State(True, state)
    return state


def set_state(instance: Stateful, state: State) -> None:
    """Replace the state of an instance."""
    private = instance.__pydantic_private__
    if private is not None:
        private[STATE] = state


def remember_fields(instance: Stateful) -> None:
    """Remember the values that the validation of the fields returned, before rules see them."""
    set_state(instance, State(validated=_validated(instance)._replace(ruled=None)))


def remember_validation(instance: Stateful) -> Stateful:
    """Remember the values of an instance that pydantic has just validated, and return it."""
    state = state_of(instance)
    if state.validated.ruled is None:
        former = state.validated
        changed = {
            name: value
            for name, value in instance.__dict__.items()
            if not same(former.values.get(name, _MISSING), value)
        }
        ruled = instance.meta.kept(changed) if changed else _EMPTY
        set_state(instance, state.with_validated(former._replace(ruled=ruled)))
    # pydantic also passes instances through that it does not validate again. With
    # `validate_assignment=True` every value that was assigned has been validated.
    elif state is BLANK or _validates_assignments(instance):
        set_state(instance, state.with_validated(_validated(instance)))
    return instance


def _validated(instance: Stateful) -> Validated:
    values = instance.meta.kept(instance.__dict__)
    return Validated(values, frozenset(instance.__pydantic_fields_set__))


def _validates_assignments(instance: Stateful) -> bool:
    return bool(instance.meta.sender.model_config.get("validate_assignment"))


class Snapshot:
    """An instance before an operation, so that receivers' assignments are seen, and undone."""

    __slots__ = ("_assigned", "_copies", "_extra", "_instance", "_state", "_values")

    def __init__(self, instance: Stateful, *, in_place: bool = True) -> None:
        """Take the snapshot; `in_place` says whether values may be changed in place from now on."""
        self._instance = instance
        extra = instance.__pydantic_extra__
        self._extra = None if extra is None else dict(extra)
        self._values = dict(instance.__dict__)
        self._copies = instance.meta.kept(self._values) if in_place else self._values
        self._assigned = frozenset(instance.__pydantic_fields_set__)
        self._state = state_of(instance)

    def changes(self) -> Row:
        """Return the fields that were assigned since, or changed in place, with their values."""
        state, changed = state_of(self._instance), {}
        for name in self._instance.meta.fields:
            value = self._instance.__dict__.get(name, _MISSING)
            if value is _MISSING or same(self._copies.get(name, _MISSING), value):
                continue
            # A receiver that loaded the row changed nothing that is to be written.
            if not state.has_written(name, value):
                changed[name] = value
        return changed

    def values(self) -> Row:
        """Return the values of that time, also of fields that were changed in place since."""
        copies = self._copies
        return {
            name: value if same(copies[name], value) else copies[name]
            for name, value in self._values.items()
        }

    def restore(self) -> None:
        """Make the instance what it was."""
        instance = self._instance
        instance.__dict__.clear()
        instance.__dict__.update(self.values())
        object.__setattr__(instance, "__pydantic_fields_set__", set(self._assigned))
        object.__setattr__(instance, "__pydantic_extra__", self._extra)
        set_state(instance, self._state.with_token(state_of(instance).token))

    def return_from(self, written: State, unsaved: Collection[str]) -> None:
        """Make the instance what it was before an operation that was rolled back.

        Values that were assigned since the operation stay, and `unsaved` ones, which the operation
        left alone.
        """
        instance, assigned = self._instance, set(self._assigned)
        fields = instance.__dict__
        for name, value in self.values().items():
            if name not in written.row:
                continue
            if name not in unsaved and same(written.row[name], fields.get(name, _MISSING)):
                fields[name] = value
            else:
                assigned.add(name)
        object.__setattr__(instance, "__pydantic_fields_set__", assigned)
        set_state(instance, self._state.with_token(state_of(instance).token))


def forget_row(instance: Stateful, before: Snapshot | None = None) -> None:
    """Take over that the row was deleted: its values are still valid for a new row.

    A rollback returns the instance to what it was `before`, or is now.
    """
    state = state_of(instance)
    validated = Validated(state.row, frozenset(state.row))
    _replace(instance, State(validated=validated, token=state.token), before)


def take_row(
    instance: Stateful,
    row: Values,
    unsaved: Collection[str] = (),
    before: Snapshot | None = None,
) -> None:
    """Set the fields to the values that the database has, but for `unsaved` fields.

    A rollback returns the instance to what it was `before`, or is now.
    """
    state, meta = state_of(instance), instance.meta
    kept, validated = meta.kept(row), _NOTHING
    if unsaved:
        row = {name: value for name, value in row.items() if name not in unsaved}
        names = frozenset(unsaved).intersection(state.validated.given)
        validated = Validated({name: state.validated.values[name] for name in names}, names)
    token = state.token
    if token is not None:
        _hashed_early[type(instance), kept[meta.pk]] = token
    _replace(instance, State(True, kept, validated, token), before, unsaved)
    instance.__dict__.update(row)


def _replace(
    instance: Stateful, state: State, before: Snapshot | None, unsaved: Collection[str] = ()
) -> None:
    database = instance.meta.registry.database
    if database.in_transaction:
        # No receiver comes between this snapshot and the new values of the instance.
        former = before or Snapshot(instance, in_place=False)
        database.on_rollback(lambda: former.return_from(state, unsaved))
    set_state(instance, state)


class Snapshots:
    """The snapshots of several instances before an operation; none of an empty list."""

    __slots__ = ("_by_place",)

    def __init__(self, instances: Iterable[Stateful]) -> None:
        self._by_place = [Snapshot(instance) for instance in instances]

    def __getitem__(self, place: int) -> Snapshot | None:
        """Return the snapshot of an instance by its place; None without snapshots."""
        return self._by_place[place] if self._by_place else None

    def restore(self) -> None:
        """Make the instances what they were."""
        for snapshot in self._by_place:
            snapshot.restore()


NO_SNAPSHOTS = Snapshots(())
"""For an operation before whose write nothing changes instances, or without instances."""


# Equal instances must have equal hashes, and the hash of an instance in a set must not change. An
# instance that is hashed before it has a key gets a token. While anybody holds the token, other
# instances of the row get the same one.

_hashed_early: WeakValueDictionary[tuple[type, Value], HashToken] = WeakValueDictionary()


def hash_of(instance: Stateful) -> int:
    """Return a hash that stays the same when the instance is saved."""
    state, key = state_of(instance), instance.pk
    token = state.token
    if token is None:
        if key is not None:
            token = _hashed_early.get((type(instance), key)) if _hashed_early else None
            if token is None:
                return hash((type(instance), key))
        else:
            token = HashToken()
        set_state(instance, state.with_token(token))
    return hash(token)
