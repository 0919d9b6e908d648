"""The base of every notice, and the metric that a notice feeds."""

import logging
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Counter:
    """A metric that only grows.

    Args:
        name: the metric's name, after the conventions of OpenMetrics, with `_total` at the end.
        labels: fields of the notice that tell series of the metric apart. Every label has few
            different values: never a key of a row, an event's id or an error's text.
        amount: the field of the notice that is added; each notice counts as 1 without it.
    """

    name: str
    labels: tuple[str, ...] = ()
    amount: str | None = None


@cache
def _remedy_in(docstring: str | None) -> str:
    # The docstring is missing where Python runs with -OO.
    text = " ".join((docstring or "").split()).partition("Remedy: ")[2]
    return text.removesuffix(".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A report of the library about itself.

    Fields contain names, numbers and reasons. No field ever contains a payload, a password or a URL
    with credentials. A field `trace` contains a traceback, in lines; everything else is one line.
    """

    name: ClassVar[str] = ""
    """The part and the happening, as `part.happening`: stable, for filters and dashboards."""
    level: ClassVar[int] = logging.INFO
    """The level of `logging` at which the notice is written."""
    metric: ClassVar[Counter | None] = None
    """The metric that the notice feeds."""

    @property
    def remedy(self) -> str:
        """Return what to do: the text after "Remedy:" in the docstring; empty without one."""
        return _remedy_in(type(self).__doc__)

    @property
    def severity(self) -> int:
        """Return the level of this notice: `level`, unless an entry has reasons for another."""
        return self.level

    def values(self) -> dict[str, Any]:
        """Return the fields by name, in the order of their declaration."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
