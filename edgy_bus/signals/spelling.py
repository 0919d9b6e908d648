"""Suggestions for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(name: str, names: Iterable[str], kind: str) -> str:
    """Return the end of an error message: the existing name that was probably meant, or all names.

    `kind` begins the list of all names, for example "the options are".
    """
    # A typing error is more certain than a likeness, and comes first.
    existing = list(names)
    meant = resembling(name, existing) or _closest(name, existing)
    if meant is not None:
        return f": did you mean {meant!r}?"
    return f"; {kind} {', '.join(existing)}"


def resembling(name: str, names: Iterable[str]) -> str | None:
    """Return the first of the existing names that a single typing error turns into `name`."""
    for existing in names:
        if one_edit_apart(existing, name):
            return existing
    return None


def _closest(name: str, names: list[str]) -> str | None:
    matches = get_close_matches(name, names, n=1)
    return matches[0] if matches else None


def one_edit_apart(first: str, second: str) -> bool:
    """Return whether a single typing error separates two texts.

    A typing error inserts, removes or changes a letter, or swaps two neighbours.
    """
    if first == second or abs(len(first) - len(second)) > 1:
        return False
    # Both texts are equal up to the edit, so everything after the edit decides.
    short, long = sorted((first, second), key=len)
    at = 0
    while at < len(short) and short[at] == long[at]:
        at += 1
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    if short[at + 1 :] == long[at + 1 :]:
        return True
    swapped = long[at + 1 : at + 2] + long[at]
    return short[at:] == swapped + long[at + 2 :]
