"""A signal of a model: its receivers, and their call in this process."""

from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from edgy_bus import telemetry
from edgy_bus.errors import SignalError
from edgy_bus.signals.keywords import PRE_SIGNALS, check_sent, complete_keywords, sent
from edgy_bus.signals.naming import describe, identity
from edgy_bus.signals.options import Options
from edgy_bus.signals.receiver import Receiver, ReceiverFunction, check, check_fits
from edgy_bus.signals.spelling import suggestion
from edgy_bus.telemetry import catalogue

Route = Callable[["Signal", Any, object, Mapping[str, object]], Awaitable[None]]
"""Takes a signal, its sender, an instance and keywords to the receivers of every process."""


# A context variable: muting in one request must not mute requests that run meanwhile.
_muted: ContextVar[frozenset["_Connections"]] = ContextVar("edgy_bus_muted", default=frozenset())


class _Connections:
    """The receivers of a signal. The two objects of a signal that is declared twice share them.

    Attributes:
        own: receivers by the identity of their function, in the order of connecting.
        refused: identities of functions of parents that this class has disconnected for itself.
    """

    __slots__ = ("own", "refused")

    def __init__(self) -> None:
        self.own: dict[Hashable, Receiver] = {}
        self.refused: set[Hashable] = set()


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
        self._is_reported = False
        # Connecting a function again replaces its options. Methods compare by their object.
        self._connections = _Connections()

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

    def adopt(self, former: "Signal") -> None:
        """Share the receivers of a signal that this signal replaces, and keep those of its own."""
        if self._connections is not former._connections:
            former._connections.own.update(self._connections.own)
            self._connections = former._connections

    def belongs_to(self, ancestor: "Signal") -> bool:
        """Return whether this is the signal `ancestor`, or the signal of a derived model."""
        if self._connections is ancestor._connections:
            return True
        return any(parent.belongs_to(ancestor) for parent in self.parents)

    @property
    def receivers(self) -> tuple[Receiver, ...]:
        """Return every receiver that this signal calls."""
        # Collected at every call: parents may get receivers after their children were declared.
        connections = self._connections
        if not self.parents:
            return tuple(connections.own.values())
        inherited: dict[Hashable, Receiver] = {}
        for parent in self.parents:
            inherited.update((receiver.key, receiver) for receiver in parent.receivers)
        for key in connections.refused:
            inherited.pop(key, None)
        return tuple((inherited | connections.own).values())

    def connect(
        self,
        function: ReceiverFunction,
        options: Options | None = None,
        *,
        sender: str | None = None,
    ) -> ReceiverFunction:
        """Call `function` from now on. Connecting a function again replaces its options.

        Args:
            function: the receiver.
            options: how the receiver is run.
            sender: the first argument of the receiver, instead of the class that sends.

        Raises:
            SignalError: naming the rule of the contract that the function breaks, the option that
                does not fit the signal, or another receiver of the same durable name.
        """
        if options is not None and not isinstance(options, Options):
            raise SignalError(
                f"connect takes Options(…) as `options`, not a {type(options).__name__}: "
                "connect(receiver, Options(local=True))"
            )
        receiver = Receiver(check(function), options or Options(), sender)
        # Before anything changes: a function that is refused is not connected.
        self.check(receiver.options, by_name=sender is not None)
        check_fits(receiver.function, self.name, receiver.options)
        group = receiver.options.group
        siblings = [each for each in self.receivers if each.options.group == group]
        refuse_namesake(receiver, siblings, self.name)
        self._connections.refused.discard(receiver.key)
        self._connections.own[receiver.key] = receiver
        return function

    def check(self, options: Options, *, by_name: bool = False) -> None:
        """Check that options fit this signal of this model.

        Args:
            options: the options of a receiver.
            by_name: whether the receiver subscribed by the name of the model.

        Raises:
            SignalError: naming the option that does not fit.
        """
        if options.schema is not None and not by_name:
            raise SignalError(
                f"{self.name} gives receivers instances of the model class: leave schema out; "
                "schema is an option of bus.receiver"
            )
        if self.name in PRE_SIGNALS:
            check_before(self.name, options)
        if self._fields is not None:
            self._fields.check(options)

    def disconnect(self, function: ReceiverFunction, *, missing_ok: bool = False) -> bool:
        """Stop calling `function` for this model, no matter which class the function came from.

        A function that is not connected stands for the receiver of the same durable name: a module
        that defines the function again still disconnects the receiver.

        Args:
            function: the receiver.
            missing_ok: return False instead of raising if no receiver is meant.

        Returns:
            Whether a receiver was disconnected.

        Raises:
            SignalError: if the function is not connected, and no receiver has its durable name.
        """
        receiver = self._meant(function)
        if receiver is None:
            if missing_ok:
                return False
            raise self._missing(function)
        self._connections.own.pop(receiver.key, None)
        if any(each.key == receiver.key for parent in self.parents for each in parent.receivers):
            self._connections.refused.add(receiver.key)
        return True

    def _meant(self, function: object) -> Receiver | None:
        """Return the receiver of a function, or of its durable name."""
        connected = self._connected(function)
        if connected is not None:
            return connected
        name = describe(function)
        matching = [each for each in self.receivers if name in (each.name, describe(each.function))]
        if len(matching) > 1:
            names = ", ".join(repr(each.name) for each in matching)
            raise SignalError(
                f"{name} is not connected to {self.name!r}, and stands for several receivers: "
                f"{names}; disconnect the functions themselves"
            )
        return matching[0] if matching else None

    def _missing(self, function: object) -> SignalError:
        names = [receiver.name for receiver in self.receivers]
        hint = suggestion(describe(function), names, "the receivers are") if names else ""
        return SignalError(
            f"{describe(function)} is not connected to {self.name!r}{hint or ': no receiver is'} "
            "(missing_ok=True accepts that)"
        )

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Keep the signal from being sent, to receivers here and to the bus, inside `with`.

        Muting holds for the current task and the tasks that it starts meanwhile, and for the models
        derived from this model.
        """
        token = _muted.set(_muted.get() | {self._connections})
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
        return self._connections in muted or any(parent.is_muted for parent in self.parents)

    async def send(self, sender: object, instance: object = None, **kwargs: object) -> None:
        """Announce. With a broker, workers call their receivers after the transaction's commit.

        An error of a local receiver reaches the caller.

        Raises:
            SignalError: for a keyword that receivers get from the library, or a sender or an
                instance that does not belong to the signal's model.
        """
        if not self.name and not self.receivers and not self._is_reported:
            # Workers know signals by their models, so nobody hears it: neither here nor there.
            self._is_reported = True
            telemetry.emit(catalogue.SignalUnheard(sender=describe(sender)))
        check_sent(self.name, kwargs)
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
        """Call receivers here, each after the end of the call before.

        Raises:
            ContractError: if the instance does not fit a receiver's schema.
        """
        if not receivers:
            return
        keywords = complete_keywords(self.name, kwargs)
        changes = keywords.get("changes")
        filtered = kwargs.get("model_instance", instance)
        # Never side by side: all receivers share the caller's transaction.
        for receiver in receivers:
            if receiver.wants(changes, filtered):
                await self._call(receiver, sender, instance, keywords)

    async def _call(
        self, receiver: Receiver, sender: object, instance: object, keywords: Mapping[str, Any]
    ) -> None:
        shown = receiver.read(instance)
        called_by = sender if receiver.sender is None else receiver.sender
        if receiver.options.batch is not None:
            of_sender = sent(self.name, keywords)
            await receiver.function(called_by, instances=[shown], events=[None], **of_sender)
            return
        replaced: dict[str, Any] = {"instance": shown}
        if shown is not instance:
            # Read by a schema: the receiver sees no more of the row than in a worker.
            replaced["model_instance"] = shown
        await receiver.function(called_by, **{**keywords, **replaced})

    def find(self, function: ReceiverFunction) -> Receiver:
        """Return the receiver that `function` was connected as.

        Raises:
            SignalError: if the function is not connected.
        """
        receiver = self._connected(function)
        if receiver is None:
            raise SignalError(f"{describe(function)} is not connected to {self.name!r}")
        return receiver

    def _connected(self, function: object) -> Receiver | None:
        key = identity(function)
        return next((receiver for receiver in self.receivers if receiver.key == key), None)


def refuse_namesake(receiver: Receiver, siblings: Iterable[Receiver], signal: str) -> None:
    """Refuse a receiver whose durable name another function of its group has already.

    Args:
        receiver: the receiver.
        siblings: the receivers of the signal in the same group.
        signal: the name of the signal, for the error's text.

    Raises:
        SignalError: naming the receiver.
    """
    # The group remembers under the name what is done: an event that one of them has handled would
    # be lost for the other.
    for sibling in siblings:
        if sibling.name == receiver.name and sibling.key != receiver.key:
            raise SignalError(
                f"another receiver of {signal} has the name {receiver.name!r} already, under which "
                'the group remembers what is done: give one of them another name, name="…", or '
                "disconnect the other first"
            )


def check_before(signal: str, options: Options) -> None:
    """Check the options of a receiver that runs before anything is written.

    Raises:
        SignalError: naming the option that does not fit.
    """
    for option, reason in (
        ("on_commit", "which is sent before anything is written"),
        ("rows", "which is sent before the rows of a set are known"),
    ):
        if getattr(options, option):
            raise SignalError(
                f"{option}=True does not fit {signal}, {reason}: "
                "leave it out, or connect to a post_* signal"
            )
