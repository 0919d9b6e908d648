"""The computation of `changes`: which fields of a row an update changed, from which value to which.

PostgreSQL computes the same in `outbox.single_statement`; a property test holds both equal.
"""

from collections.abc import Collection
from typing import Any

from edgy_bus.sources.base import RowChange

Changes = dict[str, dict[str, Any]]
"""Field name to `{"old": …, "new": …}`; `old` is missing where nobody knows the value."""

_JSON = (dict, list, bool)
"""Types whose values Python may call equal although their JSON differs."""


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
        if name not in change.old:
            changes[name] = {"new": new}
        elif differ(change.old[name], new):
            changes[name] = {"old": change.old[name], "new": new}
    return changes


def differ(old: object, new: object) -> bool:
    """Return whether two values of a field differ, as PostgreSQL's IS DISTINCT FROM does.

    JSON tells `true` from 1, at any depth; Python does not.
    """
    if old != new:
        return True
    if not isinstance(old, _JSON) and not isinstance(new, _JSON):
        return False
    if isinstance(old, dict) and isinstance(new, dict):
        return any(differ(value, new[name]) for name, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return any(differ(before, after) for before, after in zip(old, new, strict=True))
    return isinstance(old, bool) is not isinstance(new, bool)
