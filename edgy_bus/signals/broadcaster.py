"""The signals of a model: `User.meta.signals`."""

from collections.abc import Collection, Iterator, Sequence

from edgy_bus.errors import SignalError, UnknownSignal
from edgy_bus.events import check_name
from edgy_bus.signals.keywords import BUILT_IN
from edgy_bus.signals.signal import Fields, Route, Signal
from edgy_bus.signals.spelling import resembling, suggestion


class Broadcaster:
    """The built-in signals by name, and custom signals that were assigned.

    `signals.on_verify = Signal()` declares a custom signal. A name that a single typing error
    separates from a built-in name is refused. A signal that is declared again keeps its receivers.
    A class inherits the signals of its parents, with their receivers.

    Args:
        owner: the name of the model class.
        route: the way of a sent signal; None calls the receivers of this process.
        parents: the signals of the parent classes.
        fields: names of the fields whose changes events contain; None if unknown.
    """

    _signals: dict[str, Signal]
    _parents: tuple["Broadcaster", ...]
    _route: Route | None
    _owner: str
    _fields: Fields | None

    def __init__(
        self,
        owner: str,
        route: Route | None = None,
        parents: Sequence["Broadcaster"] = (),
        fields: Collection[str] | None = None,
    ) -> None:
        # Assigning an attribute declares a signal, so the state is written past `__setattr__`.
        vars(self).update(
            _signals={},
            _parents=tuple(parents),
            _route=route,
            _owner=owner,
            _fields=None if fields is None else Fields(f"an event of {owner}", fields),
        )
        for name in BUILT_IN:
            self._signals[name] = self._inherited(name)

    def __getattr__(self, name: str) -> Signal:
        # Copying and pickling look for special methods, which are not misspelt signals.
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in self._signals:
            if not any(name in parent for parent in self._parents):
                raise self._unknown(name)
            # A parent has declared the signal after this class was made.
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
        # A dot would make the type of an event ambiguous: `accounts.User.post_save`.
        check_name(name, "the signal's name")
        if "." in name or name.startswith("_"):
            raise SignalError(
                f"the signal's name {name!r} may not hold a dot or begin with an underscore"
            )
        meant = resembling(name, BUILT_IN)
        if meant is not None:
            raise SignalError(
                f"{name!r} would be a new signal of {self._owner}: did you mean {meant!r}? "
                "For a new signal, choose a name that differs more."
            )
        former = self._signals.get(name)
        self._bind(signal, name)
        if former is not None:
            signal.adopt(former)
        self._signals[name] = signal

    def __getitem__(self, name: str) -> Signal:
        return self.__getattr__(name)

    def __contains__(self, name: object) -> bool:
        return name in self._signals or any(name in parent for parent in self._parents)

    def __iter__(self) -> Iterator[Signal]:
        """Iterate over every signal, built-in signals first."""
        names = dict.fromkeys(self._signals)
        for parent in self._parents:
            names.update(dict.fromkeys(signal.name for signal in parent))
        return iter([self.__getattr__(name) for name in names])

    def _inherited(self, name: str) -> Signal:
        signal = Signal()
        self._bind(signal, name)
        return signal

    def _bind(self, signal: Signal, name: str) -> None:
        parents = [getattr(parent, name) for parent in self._parents if name in parent]
        signal.bind(name, self._route, parents, self._fields)

    def _unknown(self, name: str) -> UnknownSignal:
        hint = suggestion(name, [signal.name for signal in self], "it has")
        end = "" if hint.endswith("?") else "."
        return UnknownSignal(
            f"{self._owner} has no signal {name!r}{hint}{end} An assignment declares a signal: "
            f"{self._owner}.meta.signals.{name} = edgy_bus.Signal()"
        )
