"""A receiver, and the contract that is checked when a function is connected."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

from edgy_bus.errors import SignalError
from edgy_bus.signals.options import Options

ReceiverFunction = Callable[..., Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Receiver:
    """A function that keeps the contract, and its options."""

    function: ReceiverFunction
    options: Options

    @property
    def name(self) -> str:
        """Return the durable name."""
        return self.options.name or describe(self.function)

    @property
    def picky(self) -> bool:
        """Return whether `wants` may ever return False."""
        return bool(self.options.when_changed) or self.options.where is not None

    def wants(self, changes: Mapping[str, object] | None, instance: object = None) -> bool:
        """Return whether the receiver is to be called with these changes of this instance.

        Changes and instances that nobody knows (None) never keep a receiver from being called.
        """
        # Decided without a call of the receiver: most filters look at the changes alone.
        wanted, where = self.options.when_changed, self.options.where
        if wanted and changes is not None and not any(name in changes for name in wanted):
            return False
        return where is None or instance is None or bool(where(instance))


def describe(function: object) -> str:
    """Return `module.qualname` of a function, a method, a partial or a callable object."""
    # A partial and an object have no name of their own: they get that of their function or class.
    while isinstance(function, partial):
        function = function.func
    qualname = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{function.__module__}.{qualname}"


def check(function: object) -> ReceiverFunction:
    """Return the function if it keeps the contract of receivers.

    Raises:
        SignalError: naming the rule that the function breaks.
    """
    if not callable(function):
        raise SignalError(f"a receiver must be callable; {function!r} is not")
    name = describe(function)
    _check_parameters(function, name)
    if not _is_async(function):
        raise SignalError(
            f"the receiver {name} must be async (`async def`): model operations are awaited"
        )
    return cast("ReceiverFunction", function)


def _check_parameters(function: Callable[..., object], name: str) -> None:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise SignalError(f"the receiver {name} has no readable signature: {error}") from error
    # Only the first parameter is passed by position; everything else comes by keyword.
    first = parameters[0] if parameters else None
    if first is None or first.name != "sender" or first.kind is first.KEYWORD_ONLY:
        raise SignalError(
            f"the receiver {name} must take `sender` as its first parameter: "
            "async def receiver(sender, instance, **kwargs)"
        )
    # A later release may pass more keywords: a receiver without **kwargs would fail then.
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        raise SignalError(
            f"the receiver {name} must take **kwargs: signals may pass more to it than today, "
            "and it must not break then"
        )


def _is_async(function: object) -> bool:
    # A decorator inside a class body gets the staticmethod object, which is not bound yet.
    while isinstance(function, partial | staticmethod):
        function = function.func if isinstance(function, partial) else function.__func__
    if isinstance(function, type):
        # Calling a class makes an instance and awaits nothing, also where instances are async.
        return False
    call = getattr(function, "__call__", None)  # noqa: B004 - the method itself is needed
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
