"""Suggestions for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(name: str, known: Iterable[str], kind: str) -> str:
    """Return the end of an error message: the name that was probably meant, else every known name.

    `kind` begins the list of the known names, for example "the options are".
    """
    names = list(known)
    meant = resembling(name, names) or next(iter(get_close_matches(name, names, n=1)), None)
    if meant is not None:
        return f": did you mean {meant!r}?"
    return f"; {kind} {', '.join(names)}"


def resembling(name: str, known: Iterable[str]) -> str | None:
    """Return the first known name that a single typing error away is `name`."""
    return next((candidate for candidate in known if one_edit_apart(candidate, name)), None)


def one_edit_apart(left: str, right: str) -> bool:
    """Return whether a single typing error separates two texts.

    A typing error inserts, removes or changes a letter, or swaps two neighbours.
    """
    if left == right or abs(len(left) - len(right)) > 1:
        return False
    short, long = sorted((left, right), key=len)
    at = next((i for i, letter in enumerate(short) if letter != long[i]), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    if short[at + 1 :] == long[at + 1 :]:
        return True
    is_swapped = short[at : at + 2] == long[at : at + 2][::-1]
    return is_swapped and short[at + 2 :] == long[at + 2 :]
