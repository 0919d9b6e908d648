"""A plain model of rows, events and instances: dictionaries that operations change.

The rules are those of docs/models.md, written down a second time, without a database:

- A given value is validated once. The rule of the row is checked on the whole row.
- `update` writes the given values and what receivers of `pre_update` changed, nothing else.
- A refused, skipped or failed operation changes nothing.
- After a rollback, rows and events are as before. Instances are as before too, except the fields
  that were assigned since.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from edgy_bus.sources.changes import differ

Row = dict[str, Any]
State = tuple[Row, Row | None, Row, Row]
"""What `Known` contains."""


class Invalid(Exception):
    """The row breaks its rule."""


class Refused(Exception):
    """A receiver of `pre_*` refused the operation."""


class Taken(Exception):
    """Another row has the value of a unique field."""


class Gone(Exception):
    """The row of an instance is not there, or was never saved."""


@dataclass(frozen=True)
class Hook:
    """What the receiver of `pre_*` does during one operation."""

    refuses: bool = False
    skips: bool = False
    values: Row = field(default_factory=dict)
    """Written into `values`."""
    assigns: Row = field(default_factory=dict)
    """Assigned to the instance."""


NO_HOOK = Hook()


@dataclass
class Known:
    """An instance: its attributes, and the row that it remembers; None if it was never saved."""

    attributes: Row
    remembered: Row | None = None
    checked: Row = field(default_factory=dict)
    """The attributes of a new row that were validated already."""
    defaults: Row = field(default_factory=dict)
    """The defaults of the fields of a new row that were never assigned: valid values, too."""

    def is_valid(self, name: str, value: Any) -> bool:
        """Return whether a value needs no validation."""
        parts = (self.remembered or {}, self.checked, self.defaults)
        return any(name in part and not differ(value, part[name]) for part in parts)

    def without_defaults(self, names: Iterable[str]) -> Row:
        """Return the defaults of the fields that are not among `names`."""
        assigned = set(names)
        return {name: value for name, value in self.defaults.items() if name not in assigned}


@dataclass(frozen=True)
class Event:
    signal: str
    key: Any
    row: Row
    is_update: bool
    changes: dict[str, Row] | None


@dataclass
class _Undo:
    known: Known
    before: State
    after: Row

    def run(self) -> None:
        attributes, remembered, checked, defaults = self.before
        current = self.known.attributes
        since = {name for name in current if differ(current[name], self.after[name])}
        current |= {name: value for name, value in attributes.items() if name not in since}
        self.known.remembered, self.known.checked = remembered, checked
        self.known.defaults = defaults
        self.known.defaults = self.known.without_defaults(since)


@dataclass
class Reference:
    """Rows by key, the events of their changes, and the instances of the application.

    `validate` is the validator of a field, by name; `rule` says whether a whole row is valid.
    """

    names: tuple[str, ...]
    validate: Mapping[str, Callable[[Any], Any]]
    rule: Callable[[Row], bool]
    unique: frozenset[str] = frozenset()
    rows: dict[int, Row] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    instances: list[Known] = field(default_factory=list)
    _undo: list[_Undo] = field(default_factory=list)

    # Instances

    def construct(self, values: Row, defaults: Row) -> Known:
        known = Known({**deepcopy(defaults), **self._validated(values), "id": None})
        known.checked = {name: deepcopy(known.attributes[name]) for name in values}
        known.defaults = deepcopy(defaults)
        known.defaults = known.without_defaults(values)
        self._check(known.attributes)
        return known

    def create(self, values: Row, defaults: Row, hook: Hook, key: int) -> None:
        known = self.construct(values, defaults)
        if self._passes(hook):
            self._insert(known, hook, key, self._state(known))
        self.instances.append(known)

    def bulk_create(self, rows: list[Row], defaults: Row, hook: Hook, keys: list[int]) -> None:
        """Create several rows, all or none."""
        created = [self.construct(values, defaults) for values in rows]
        if not self._passes(hook):
            return
        put = self.values_of_bulk(hook)
        before = [self._state(known) for known in created]
        written = []
        for known in created:
            # What a receiver puts into the values is assigned.
            known.attributes |= deepcopy(put)
            known.defaults = known.without_defaults(put)
            written.append(self._written(known, NO_HOOK))
        for number, row in enumerate(written):
            self._require_free([-1], row)
            for other in written[:number]:
                if any(row[name] == other[name] is not None for name in self.unique & row.keys()):
                    raise Taken
        for known, row, key, state in zip(created, written, keys, before, strict=True):
            self._insert_row(known, row | {"id": key}, state)
        self.instances += created

    def bulk_update(self, chosen: list[Known], names: tuple[str, ...], hook: Hook) -> int:
        """Write some fields of several instances, all or none; rows that are gone are left out."""
        if any(each.remembered is None or each.attributes["id"] is None for each in chosen):
            raise Gone
        if not names or not self._passes(hook):
            return 0
        before = [self._state(known) for known in chosen]
        put = self.values_of_bulk(hook)
        try:
            written = [self._changed(known, names, put) for known in chosen]
            keys = [known.attributes["id"] for known in chosen]
            there = [key for key in keys if key in self.rows]
            self._require_free(there, {name: written[0][name] for name in written[0]})
        except (Invalid, Taken):
            for known, state in zip(chosen, before, strict=True):
                known.attributes, known.remembered, known.checked, known.defaults = state
            raise
        in_order = sorted(zip(keys, chosen, written, before, strict=True), key=lambda row: row[0])
        for key, known, values, state in in_order:
            if key in self.rows:
                self._write(known, "post_update", values, state)
        return len(there)

    def _changed(self, known: Known, names: tuple[str, ...], put: Row) -> Row:
        """Put values into an instance, and return the values of its fields that are written."""
        known.attributes |= deepcopy(put)
        values = {name: known.attributes[name] for name in (*names, *put)}
        new = {name: value for name, value in values.items() if not known.is_valid(name, value)}
        if not new:
            return values
        checked = values | self._validated(new)
        self._check((known.remembered or {}) | checked)
        return checked

    @staticmethod
    def values_of_bulk(hook: Hook) -> Row:
        """Return what a receiver puts into the values of many rows.

        The identity of a value decides whether the value counts as put, so a value whose
        validation changes it is left out.
        """
        return {name: value for name, value in hook.values.items() if name != "shout"}

    def load(self, key: int) -> None:
        row = deepcopy(self.rows[key])
        self.instances.append(Known(row, deepcopy(row)))

    def assign(self, known: Known, values: Row) -> None:
        known.attributes |= deepcopy(values)
        known.defaults = known.without_defaults(values)

    def save(self, known: Known, hook: Hook, key: int, values: Row | None = None) -> None:
        """Assign `values`, and write every field; insert the row, with `key`, if it is new."""
        before = self._state(known)
        written = False
        try:
            self.assign(known, values or {})
            written = self._passes(hook)
            if written and (known.remembered is None or known.attributes["id"] is None):
                self._insert(known, hook, key, before)
            elif written:
                self._write(known, "post_save", self._written(known, hook), before)
        except (Invalid, Refused, Gone, Taken):
            written = False
            raise
        finally:
            # A refused, skipped or failed operation leaves the instance as it was.
            if not written:
                known.attributes, known.remembered, known.checked, known.defaults = before

    def update(
        self, known: Known, values: Row, hook: Hook, computed: dict[str, int] | None = None
    ) -> None:
        """Write `values`, and add the numbers of `computed` to those of the row."""
        key = known.attributes["id"]
        if known.remembered is None or key is None:
            raise Gone
        if not (values or computed):
            return
        given = self._validated(values) | self._sums(key, computed)
        # The rule of the row comes after the receivers, which may complete a change.
        if not self._passes(hook):
            return
        before = self._state(known)
        # An assignment of the same value changes nothing.
        assigned = {
            name: value
            for name, value in hook.assigns.items()
            if name not in given
            and differ(value, known.attributes[name])
            and not known.is_valid(name, value)
        }
        put = {
            name: value
            for name, value in hook.values.items()
            if name not in given or differ(value, given[name])
        }
        changed = self._validated(assigned) | given | self._validated(put)
        self._check(known.remembered | changed)
        if key not in self.rows:
            raise Gone
        self._require_free([key], changed)
        known.attributes |= deepcopy(hook.assigns)
        self._write(known, "post_update", changed, before)

    def delete(self, known: Known, hook: Hook) -> None:
        if known.remembered is None or known.attributes["id"] is None:
            raise Gone
        if not self._passes(hook):
            return
        row = self.rows.pop(known.attributes["id"], None)
        if row is not None:
            self._report("post_delete", row, None, ())
        # A deletion writes no field: what a receiver assigns is assigned.
        known.attributes |= deepcopy(hook.assigns)
        before = self._state(known)
        known.remembered = None
        known.checked = deepcopy(before[1] or {})
        self._undo.append(_Undo(known, before, deepcopy(known.attributes)))

    # Sets

    def update_set(
        self, keys: list[int], values: Row, hook: Hook, computed: dict[str, int] | None = None
    ) -> int:
        if not (values or computed) or not self._passes(hook):
            return 0
        given, put = self._validated(values), self._validated(hook.values)
        self._require_free(keys, given | put)
        for key in keys:
            old = self.rows[key]
            written = given | self._sums(key, computed) | put
            self.rows[key] = old | deepcopy(written)
            self._report("post_update", self.rows[key], old, tuple(written))
        return len(keys)

    def delete_set(self, keys: list[int], hook: Hook) -> int:
        if not self._passes(hook):
            return 0
        for key in keys:
            self._report("post_delete", self.rows.pop(key), None, ())
        return len(keys)

    def change_unseen(self, key: int, values: Row) -> None:
        """Change a row by SQL, as another program would."""
        self._require_free([key], values)
        self.rows[key] = self.rows[key] | deepcopy(values)

    # Transactions

    def begin(self) -> tuple[Any, ...]:
        return deepcopy(self.rows), len(self.events), len(self._undo)

    def roll_back(self, since: tuple[Any, ...]) -> None:
        self.rows, events, undo = since
        del self.events[events:]
        while len(self._undo) > undo:
            self._undo.pop().run()

    # Parts

    def _validated(self, values: Row) -> Row:
        return {
            name: self.validate[name](value) if name in self.validate else value
            for name, value in deepcopy(values).items()
        }

    def _check(self, row: Row) -> None:
        if not self.rule(row):
            raise Invalid

    def _sums(self, key: int, computed: dict[str, int] | None) -> Row:
        """Return what the database computes for a row; nothing for a row that is gone."""
        row = self.rows.get(key, {})
        return {name: row.get(name, 0) + number for name, number in (computed or {}).items()}

    def _require_free(self, keys: Iterable[int], row: Row) -> None:
        """Raise `Taken` if rows other than that of a key have a unique value of `row`."""
        for key in keys:
            others = [other for other in self.rows if other != key]
            # A set whose rows would all have the value: its first row takes the value.
            others_of_set = [other for other in keys if other != key]
            for name in self.unique & row.keys():
                value = row[name]
                taken = others_of_set or any(self.rows[other][name] == value for other in others)
                if value is not None and taken:
                    raise Taken

    def _passes(self, hook: Hook) -> bool:
        if hook.refuses:
            raise Refused
        return not hook.skips

    def _checked(self, known: Known, values: Row) -> Row:
        """Return values as they are written: those that are not valid already are validated."""
        new = {name: value for name, value in values.items() if not known.is_valid(name, value)}
        return deepcopy(values) | self._validated(new)

    def _insert(self, known: Known, hook: Hook, key: int, before: State) -> None:
        row = self._written(known, hook) | {"id": key}
        self._require_free([key], row)
        self._insert_row(known, row, before)

    def _insert_row(self, known: Known, row: Row, before: State) -> None:
        self.rows[row["id"]] = deepcopy(row)
        self._report("post_save", row, None, ())
        self._take(known, row, before)

    def _written(self, known: Known, hook: Hook) -> Row:
        """Return the whole row as a save writes it."""
        attributes = known.attributes
        # `values` is a plain dictionary: putting an equal value into it cannot be seen.
        put = {
            name: value for name, value in hook.values.items() if differ(value, attributes[name])
        }
        known.defaults = known.without_defaults(hook.assigns)
        row = attributes | hook.assigns | put
        key = row.pop("id")
        row = {"id": key} | self._checked(known, row)
        self._check(row)
        return row

    def _write(self, known: Known, signal: str, values: Row, before: State) -> None:
        key = known.attributes["id"]
        if key not in self.rows:
            raise Gone
        old = self.rows[key]
        self._require_free([key], values)
        self.rows[key] = old | deepcopy(values)
        names = tuple(name for name in values if name != "id")
        self._report(signal, self.rows[key], old, names)
        # What was assigned and not written stays assigned.
        remembered = known.remembered or {}
        kept = {
            name: value
            for name, value in known.attributes.items()
            if name not in values and differ(value, remembered.get(name))
        }
        self._take(known, self.rows[key], before)
        known.attributes |= kept
        self._undo[-1].after = deepcopy(known.attributes)

    def _take(self, known: Known, row: Row, before: State) -> None:
        known.attributes, known.remembered = deepcopy(row), deepcopy(row)
        known.checked, known.defaults = {}, {}
        self._undo.append(_Undo(known, before, deepcopy(row)))

    def _state(self, known: Known) -> State:
        return deepcopy((known.attributes, known.remembered, known.checked, known.defaults))

    def _report(self, signal: str, row: Row, old: Row | None, names: tuple[str, ...]) -> None:
        changes = None
        if old is not None:
            changes = {
                name: {"old": old[name], "new": row[name]}
                for name in names
                if differ(old[name], row[name])
            }
        event = Event(signal, row["id"], row, old is not None, changes)
        self.events.append(deepcopy(event))
