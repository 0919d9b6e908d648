"""A signal of a model: its receivers, and their call in this process."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from edgy_bus.errors import SignalError
from edgy_bus.signals.options import Options
from edgy_bus.signals.receiver import Receiver, ReceiverFunction, check, describe
from edgy_bus.signals.spelling import suggestion

PRE_SIGNALS = ("pre_save", "pre_update", "pre_delete")
POST_SIGNALS = ("post_save", "post_update", "post_delete")
BUILT_IN = PRE_SIGNALS + POST_SIGNALS

Route = Callable[["Signal", Any, object, Mapping[str, object]], Awaitable[None]]
"""Takes a signal, its sender, an instance and keywords to the receivers of every process."""


# A context variable: muting in one request must not mute requests that run meanwhile.
_muted: ContextVar[frozenset["Signal"]] = ContextVar("edgy_bus_muted", default=frozenset())


class Fields(NamedTuple):
    """The fields whose changes the events of a model contain."""

    owner: str
    """The model, or whatever else has these fields, for error messages."""
    names: Collection[str]

    def check(self, options: Options) -> None:
        """Check that `when_changed` names fields of these.

        Raises:
            SignalError: naming the field that does not exist.
        """
        for name in options.when_changed:
            if name not in self.names:
                hint = suggestion(name, self.names, "the fields are")
                raise SignalError(
                    f"when_changed names {name!r}: {self.owner} has no such field{hint}"
                )


class Signal:
    """An announcement that a model makes.

    Receivers are called in the order in which they were connected, receivers of parent models
    first. A receiver that is connected twice is called once, with the later options. A signal
    belongs to a model class: all instances share the signal, and derived classes announce to its
    receivers too.
    """

    def __init__(self) -> None:
        self.name = ""
        self.parents: tuple[Signal, ...] = ()
        self._route: Route | None = None
        self._fields: Fields | None = None
        # By function, and methods compare by their object: connecting again replaces the options.
        self._own: dict[object, Receiver] = {}
        # Functions of parents that this class has disconnected for itself.
        self._refused: set[object] = set()

    def __repr__(self) -> str:
        return f"<Signal {self.name or 'without a name'}: {len(self.receivers)} receivers>"

    def bind(
        self,
        name: str,
        route: Route | None,
        parents: Sequence["Signal"] = (),
        fields: Fields | None = None,
    ) -> None:
        """Make this the signal `name` of a model.

        Args:
            name: the name of the signal.
            route: the way of a sent signal; None calls the receivers of this process.
            parents: the same signal of the parent models.
            fields: the fields whose changes events contain; None if unknown.

        Raises:
            SignalError: if the signal has another name already.
        """
        if self.name and self.name != name:
            raise SignalError(
                f"this signal is {self.name!r} already; make another Signal() for {name!r}"
            )
        self.name, self._route, self.parents = name, route, tuple(parents)
        self._fields = fields

    @property
    def receivers(self) -> tuple[Receiver, ...]:
        """Return every receiver that this signal calls."""
        # Collected at every call: parents may get receivers after their children were declared.
        inherited: dict[object, Receiver] = {}
        for parent in self.parents:
            inherited.update((receiver.function, receiver) for receiver in parent.receivers)
        for function in self._refused:
            inherited.pop(function, None)
        return tuple((inherited | self._own).values())

    def connect(
        self, function: ReceiverFunction, options: Options | None = None
    ) -> ReceiverFunction:
        """Call `function` from now on.

        Raises:
            SignalError: naming the rule of the contract that the function breaks, or the option
                that does not fit the signal.
        """
        receiver = Receiver(check(function), options or Options())
        # Before anything changes: a function that is refused is not connected.
        self.check(receiver.options)
        self._refused.discard(function)
        self._own[function] = receiver
        return function

    def check(self, options: Options) -> None:
        """Check that options fit this signal of this model.

        Raises:
            SignalError: naming the option that does not fit.
        """
        if options.on_commit and self.name in PRE_SIGNALS:
            raise SignalError(
                f"on_commit=True does not fit {self.name}, which is sent before anything is "
                "written: leave it out, or connect to a post_* signal"
            )
        if self._fields is not None:
            self._fields.check(options)

    def disconnect(self, function: ReceiverFunction) -> bool:
        """Stop calling `function` for this model, no matter which class the function came from.

        Returns:
            Whether the function was connected.
        """
        was_connected = any(receiver.function == function for receiver in self.receivers)
        inherited = [receiver for parent in self.parents for receiver in parent.receivers]
        self._own.pop(function, None)
        if any(receiver.function == function for receiver in inherited):
            self._refused.add(function)
        return was_connected

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Keep the signal from being sent, to receivers here and to the bus, inside `with`.

        Muting holds for the current task and the tasks that it starts meanwhile, and for the models
        derived from this model.
        """
        token = _muted.set(_muted.get() | {self})
        try:
            yield
        finally:
            _muted.reset(token)

    @property
    def is_muted(self) -> bool:
        """Return whether the current task has muted the signal, or a parent's."""
        muted = _muted.get()
        if not muted:  # nearly always, and asked for at every operation
            return False
        return self in muted or any(parent.is_muted for parent in self.parents)

    async def send(self, sender: object, instance: object = None, **kwargs: object) -> None:
        """Announce. With a broker, workers call their receivers after the transaction's commit.

        An error of a local receiver reaches the caller.
        """
        if self.is_muted:
            return
        if self._route is None:
            await self.deliver(self.receivers, sender, instance, kwargs)
        else:
            await self._route(self, sender, instance, kwargs)

    async def deliver(
        self,
        receivers: Sequence[Receiver],
        sender: object,
        instance: object,
        kwargs: Mapping[str, Any],
    ) -> None:
        """Call receivers here, each after the end of the call before."""
        # Never side by side: all receivers share the caller's transaction.
        changes = kwargs.get("changes")
        filtered = kwargs.get("model_instance", instance)
        for receiver in receivers:
            if not receiver.wants(changes, filtered):
                continue
            if receiver.options.batch is None:
                await receiver.function(sender, instance=instance, **kwargs)
            else:
                await receiver.function(sender, instances=[instance], events=[], **kwargs)

    def find(self, function: ReceiverFunction) -> Receiver:
        """Return the receiver that `function` was connected as.

        Raises:
            SignalError: if the function is not connected.
        """
        for receiver in self.receivers:
            if receiver.function == function:
                return receiver
        raise SignalError(f"{describe(function)} is not connected to {self.name!r}")
