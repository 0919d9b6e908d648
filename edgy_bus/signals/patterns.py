"""The patterns that choose signals for the broker: `post_*`, `User.*`, `User.on_verify`."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from edgy_bus.signals.keywords import BUILT_IN
from edgy_bus.signals.spelling import resembling

_FAMILIES = ("pre_*", "post_*", "*_save", "*_update", "*_delete")


def matches(pattern: str, model: str, signal: str) -> bool:
    """Return whether a pattern of `signal` or `Model.signal` matches a signal of a model."""
    return fnmatchcase(signal, pattern) or fnmatchcase(f"{model}.{signal}", pattern)


def misspelt(pattern: str) -> str | None:
    """Return the pattern that was probably meant; None for a pattern that may match a signal.

    A pattern of a custom signal matches no built-in signal, so only a single typing error in a
    built-in name, or in a family of names, is certain.
    """
    model, dot, signal = pattern.rpartition(".")
    if any(fnmatchcase(name, signal) for name in BUILT_IN):
        return None
    meant = resembling(signal, (*BUILT_IN, *_FAMILIES))
    return None if meant is None else f"{model}{dot}{meant}"


def unmatched(
    patterns: Iterable[str], signals: Iterable[tuple[str, str]]
) -> list[tuple[str, str | None]]:
    """Return the patterns that match no signal, each with the pattern that was probably meant.

    Args:
        patterns: the patterns.
        signals: the names of models, each with the name of a signal.
    """
    candidates = list(signals)
    lost = [
        pattern for pattern in patterns if not any(matches(pattern, *each) for each in candidates)
    ]
    return [(pattern, _meant(pattern, candidates)) for pattern in lost]


def _meant(pattern: str, signals: list[tuple[str, str]]) -> str | None:
    model, _, signal = pattern.rpartition(".")
    models = list(dict.fromkeys(name for name, _ in signals))
    if not model:
        return resembling(signal, dict.fromkeys(name for _, name in signals))
    if model in models:
        meant = resembling(signal, [name for owner, name in signals if owner == model])
        return None if meant is None else f"{model}.{meant}"
    likely = resembling(model, models)
    return None if likely is None else f"{likely}.{signal}"
