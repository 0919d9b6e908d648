"""A signal of one model: its receivers, and their call in this process."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from edgy_bus.errors import SignalError
from edgy_bus.signals.receiver import Options, Receiver, ReceiverFunction, check, describe

Route = Callable[["Signal", Any, Any, Mapping[str, Any]], Awaitable[None]]
"""Takes what was sent (signal, sender, instance, keywords) to the receivers, wherever they are."""


_muted: ContextVar[frozenset["Signal"]] = ContextVar("edgy_bus_muted", default=frozenset())
"""Of a context, so that muting in one request mutes no other one."""


class Signal:
    """Something that a model announces.

    Receivers are called in the order in which they were connected, those of parent models first. Connecting a receiver twice
    connects it once; the later options hold. A signal belongs to a model class: all its instances share it, and classes
    derived from the model announce to its receivers too.
    """

    def __init__(self) -> None:
        self.name = ""
        self.parents: tuple[Signal, ...] = ()
        self._route: Route | None = None
        self._own: dict[Any, Receiver] = {}
        self._refused: set[Any] = set()

    def __repr__(self) -> str:
        return f"<Signal {self.name or 'without a name'}: {len(self.receivers)} receivers>"

    def bind(self, name: str, route: Route | None, parents: Sequence["Signal"] = ()) -> None:
        """Give the signal its place at a model. Raises `SignalError` if it has another name already."""
        if self.name and self.name != name:
            raise SignalError(
                f"this signal is {self.name!r} already; make another Signal() for {name!r}"
            )
        self.name, self._route, self.parents = name, route, tuple(parents)

    @property
    def receivers(self) -> tuple[Receiver, ...]:
        """Every receiver that this signal calls."""
        found: dict[Any, Receiver] = {}
        for parent in self.parents:
            found.update((receiver.function, receiver) for receiver in parent.receivers)
        found = {key: receiver for key, receiver in found.items() if key not in self._refused}
        return tuple((found | self._own).values())

    def connect(
        self, function: ReceiverFunction, options: Options | None = None
    ) -> ReceiverFunction:
        """Call `function` from now on. Raises `SignalError` naming the rule that it breaks."""
        receiver = Receiver(check(function), options or Options())
        self._refused.discard(function)
        self._own[function] = receiver
        return function

    def disconnect(self, function: ReceiverFunction) -> bool:
        """Stop calling `function` for this model, whether it was connected here or inherited; whether it was connected."""
        known = any(receiver.function == function for receiver in self.receivers)
        self._own.pop(function, None)
        if any(
            receiver.function == function
            for parent in self.parents
            for receiver in parent.receivers
        ):
            self._refused.add(function)
        return known

    @contextmanager
    def muted(self) -> Iterator[None]:
        """While it is open, nobody hears of what this task does: neither receivers here nor the bus.

        It holds for the current task and those that it starts meanwhile, and for the models derived from this one.
        """
        token = _muted.set(_muted.get() | {self})
        try:
            yield
        finally:
            _muted.reset(token)

    @property
    def is_muted(self) -> bool:
        return bool(found := _muted.get()) and (
            self in found or any(parent.is_muted for parent in self.parents)
        )

    async def send(self, sender: Any, instance: Any = None, **kwargs: Any) -> None:
        """Announce. With a broker, receivers in workers hear of it once the transaction has committed.

        What a local receiver raises reaches the caller.
        """
        if self.is_muted:
            return
        if self._route is None:
            await self.deliver(self.receivers, sender, instance, kwargs)
        else:
            await self._route(self, sender, instance, kwargs)

    async def deliver(
        self, receivers: Sequence[Receiver], sender: Any, instance: Any, kwargs: Mapping[str, Any]
    ) -> None:
        """Call receivers here, one after another."""
        changes = kwargs.get("changes")
        for receiver in receivers:
            if receiver.wants(changes, kwargs.get("model_instance", instance)):
                own = (
                    {"instances": [instance], "events": []}
                    if receiver.options.batch
                    else {"instance": instance}
                )
                await receiver.function(sender, **own, **kwargs)

    def find(self, function: ReceiverFunction) -> Receiver:
        """The receiver that `function` was connected as."""
        for receiver in self.receivers:
            if receiver.function == function:
                return receiver
        raise SignalError(f"{describe(function)} is not connected to {self.name!r}")
