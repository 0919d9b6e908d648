"""Conditions of rows as an operator writes them: `status=paid`, `created__gte=2026-01-01`."""

from collections.abc import Sequence

from edgy_bus.errors import ConfigurationError
from edgy_bus.sources import Value

_LISTS = ("in", "range")
"""Lookups that take several values, separated by commas."""

_TRUTH = {"true": True, "false": False}


def lookups_of(conditions: Sequence[str]) -> dict[str, Value]:
    """Return conditions as lookups of a model. The fields convert the values.

    Raises:
        ConfigurationError: for a text that is no condition, and for a lookup that comes twice.
    """
    lookups: dict[str, Value] = {}
    for condition in conditions:
        name, equals, text = condition.partition("=")
        if not name or not equals:
            raise ConfigurationError(
                f"{name!r} is no condition: write FIELD=VALUE, for example status=paid, or a "
                "lookup like created__gte=2026-01-01"
            )
        # A mapping would keep the last one, and the backfill would send other rows than wanted.
        if name in lookups:
            raise ConfigurationError(f"the condition {name!r} comes twice")
        lookups[name] = _value(name, text)
    return lookups


def fields_of(conditions: Sequence[str]) -> list[str]:
    """Return the names of conditions, without the values, which may be values of rows."""
    return [condition.partition("=")[0] for condition in conditions]


def _value(name: str, text: str) -> Value:
    # Only the shape: the type of the field decides what the text means, as in a query.
    lookup = name.rpartition("__")[2]
    if lookup in _LISTS:
        return text.split(",")
    if lookup != "isnull":
        return text
    if text not in _TRUTH:
        raise ConfigurationError(f"{name} is either true or false")
    return _TRUTH[text]
