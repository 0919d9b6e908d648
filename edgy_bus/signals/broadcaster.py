"""The signals of one model: `User.meta.signals`."""

from collections.abc import Iterator, Sequence

from edgy_bus.errors import SignalError, UnknownSignal
from edgy_bus.events import check_name
from edgy_bus.signals.signal import Route, Signal

PRE_SIGNALS = ("pre_save", "pre_update", "pre_delete")
POST_SIGNALS = ("post_save", "post_update", "post_delete")
BUILT_IN = PRE_SIGNALS + POST_SIGNALS


class Broadcaster:
    """Signals by name: the built-in ones, and custom ones that were assigned.

    `signals.on_verify = Signal()` makes a custom signal. A name that is one letter away from an existing one is taken for a
    typing error. A class inherits the signals of its parents, with their receivers.
    """

    _signals: dict[str, Signal]
    _parents: tuple["Broadcaster", ...]
    _route: Route | None
    _owner: str

    def __init__(
        self, owner: str, route: Route | None = None, parents: Sequence["Broadcaster"] = ()
    ) -> None:
        vars(self).update(_signals={}, _parents=tuple(parents), _route=route, _owner=owner)
        for name in BUILT_IN:
            self._signals[name] = self._inherited(name)

    def __getattr__(self, name: str) -> Signal:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._signals:
            if not any(name in parent for parent in self._parents):
                raise UnknownSignal(f"{self._owner} has no signal {name!r}{self._hint(name)}")
            self._signals[name] = self._inherited(name)
        return self._signals[name]

    def __setattr__(self, name: str, signal: Signal) -> None:
        if not isinstance(signal, Signal):
            raise SignalError(
                f"{self._owner}.meta.signals.{name} must be a Signal(), not {signal!r}"
            )
        if name in BUILT_IN:
            raise SignalError(
                f"{name!r} is a built-in signal of {self._owner} and cannot be replaced"
            )
        check_name(name, "the signal's name")
        if "." in name or name.startswith("_"):
            raise SignalError(
                f"the signal's name {name!r} may not hold a dot or begin with an underscore"
            )
        if name not in self and self._resembling(name):
            raise SignalError(
                f"{name!r} would be a new signal of {self._owner}{self._hint(name)} If it is meant, choose a name that differs more."
            )
        signal.bind(
            name, self._route, [getattr(parent, name) for parent in self._parents if name in parent]
        )
        self._signals[name] = signal

    def __getitem__(self, name: str) -> Signal:
        return self.__getattr__(name)

    def __contains__(self, name: object) -> bool:
        return name in self._signals or any(name in parent for parent in self._parents)

    def __iter__(self) -> Iterator[Signal]:
        """Every signal, the built-in ones first."""
        names = dict.fromkeys(self._signals)
        for parent in self._parents:
            names.update(dict.fromkeys(signal.name for signal in parent))
        return iter([self.__getattr__(name) for name in names])

    def _inherited(self, name: str) -> Signal:
        signal = Signal()
        signal.bind(
            name, self._route, [getattr(parent, name) for parent in self._parents if name in parent]
        )
        return signal

    def _resembling(self, name: str) -> str | None:
        return next((signal.name for signal in self if one_edit_apart(signal.name, name)), None)

    def _hint(self, name: str) -> str:
        meant = self._resembling(name)
        if meant is not None:
            return f": did you mean {meant!r}?"
        return f"; it has {', '.join(signal.name for signal in self)}"


def one_edit_apart(one: str, other: str) -> bool:
    """Whether a single letter inserted, removed, changed, or swapped with its neighbour makes one text the other."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    if len(one) > len(other):
        one, other = other, one
    at = next((i for i, letter in enumerate(one) if letter != other[i]), len(one))
    if len(one) < len(other):
        return one[at:] == other[at + 1 :]
    swapped = one[at + 1 : at + 2] + one[at]
    return one[at + 1 :] == other[at + 1 :] or (
        swapped == other[at : at + 2] and len(swapped) == 2 and one[at + 2 :] == other[at + 2 :]
    )
