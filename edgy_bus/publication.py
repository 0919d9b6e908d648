"""Which signals go to the broker: the patterns of a bus, and those of models."""

from collections.abc import Iterable, Sequence

from edgy_bus import telemetry
from edgy_bus.errors import ConfigurationError
from edgy_bus.signals import matches, misspelt, unmatched
from edgy_bus.sources import SourceModel
from edgy_bus.telemetry import catalogue

_OF_THE_BUS = "Bus(publish=…)"


class Publication:
    """Decide which signals of models go to the broker.

    Args:
        patterns: patterns of `signal` or `Model.signal`; None for all signals.

    Raises:
        ConfigurationError: for a pattern that is no text, or misspells a built-in signal.
    """

    def __init__(self, patterns: Iterable[str] | None) -> None:
        self._patterns = None if patterns is None else _as_patterns(patterns)

    def includes(self, model: SourceModel, signal: str) -> bool:
        """Return whether a signal of a model goes to the broker."""
        # The patterns of a model replace those of the bus, also where there is no pattern.
        patterns = self._patterns if model.publish is None else model.publish
        if patterns is None:
            return True
        return any(matches(pattern, model.name, signal) for pattern in patterns)

    def check(self, models: Sequence[SourceModel]) -> None:
        """Refuse patterns with a typing error; report others that match no signal of the models.

        Raises:
            ConfigurationError: for a pattern that misspells a built-in signal.
        """
        # Without a model, this process publishes nothing, and knows no name to compare with.
        if models and self._patterns:
            signals = [each for model in models for each in _signals_of(model)]
            _check_unmatched(self._patterns, signals, _OF_THE_BUS)
        for model in models:
            if model.publish:
                _check_unmatched(model.publish, _signals_of(model), f"{model.name}.Meta.publish")


def _as_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    chosen = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    for pattern in chosen:
        if not isinstance(pattern, str):
            raise ConfigurationError(
                f"{_OF_THE_BUS} contains {pattern!r}: write patterns of signals, "
                '"post_*" or "User.post_save" for example'
            )
        _refuse_misspelt(pattern, misspelt(pattern), _OF_THE_BUS)
    return chosen


def _signals_of(model: SourceModel) -> list[tuple[str, str]]:
    return [(model.name, signal.name) for signal in model.signals]


def _check_unmatched(
    patterns: Iterable[str], signals: Iterable[tuple[str, str]], where: str
) -> None:
    """Report the patterns that match no known signal; refuse those that misspell a built-in."""
    for pattern, meant in unmatched(patterns, signals):
        _refuse_misspelt(pattern, misspelt(pattern), where)
        # No error: the signal may be declared later, and another program of the service may have
        # the model.
        hint = "" if meant is None else f"did you mean {meant!r}?"
        telemetry.emit(catalogue.PatternUnmatched(pattern=pattern, where=where, hint=hint))


def _refuse_misspelt(pattern: str, meant: str | None, where: str) -> None:
    if meant is not None:
        raise ConfigurationError(
            f"{where} contains {pattern!r}, which matches no signal: did you mean {meant!r}?"
        )
