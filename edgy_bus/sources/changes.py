"""The computation of `changes`: the fields of a row that an update changed, with both values."""

from collections.abc import Collection
from typing import Any

from edgy_bus.sources.base import RowChange

Changes = dict[str, dict[str, Any]]
"""Field name to `{"old": …, "new": …}`; `old` is missing where nobody knows the value."""


def changes_of(change: RowChange, public: Collection[str]) -> Changes | None:
    """Return the changes of the public fields; None if the row was not updated."""
    if change.old is None:
        return None
    names = public if change.assigned is None else change.assigned
    changes: Changes = {}
    for name in names:
        if name not in public:
            continue
        new = change.row[name]
        # A missing old value and NULL are different: only NULL is a value that was read.
        if name not in change.old:
            changes[name] = {"new": new}
        elif differ(change.old[name], new):
            changes[name] = {"old": change.old[name], "new": new}
    return changes


# `outbox.single_statement` computes the same in PostgreSQL, with IS DISTINCT FROM on the types of
# the columns, and on jsonb for JSON. Where the two disagree, the event of a row would depend on the
# way in which the row was written, so `tests/integration/test_encodings.py` compares both.


def differ(old: object, new: object) -> bool:
    """Return whether two values of a field differ, as PostgreSQL's IS DISTINCT FROM does."""
    return bool(old != new) or _differ_in_json(old, new)


def _differ_in_json(old: object, new: object) -> bool:
    """Return whether equal values differ in JSON, at any depth."""
    if isinstance(old, dict) and isinstance(new, dict):
        return any(_differ_in_json(value, new[name]) for name, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return any(map(_differ_in_json, old, new))
    # JSON distinguishes true from 1; Python does not.
    return isinstance(old, bool) is not isinstance(new, bool)
