"""A receiver, and the contract that is checked when a function is connected."""

import inspect
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from edgy_bus.codec import dumps, loads
from edgy_bus.errors import SignalError
from edgy_bus.signals.contracts import read_by
from edgy_bus.signals.keywords import BATCH_KEYWORDS, BUILT_IN_KEYWORDS, is_built_in
from edgy_bus.signals.naming import describe, identity
from edgy_bus.signals.options import Options
from edgy_bus.signals.spelling import suggestion

ReceiverFunction = Callable[..., Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Receiver:
    """A function that keeps the contract, and its options.

    Attributes:
        function: the function.
        options: its options.
        sender: the receiver's first argument if it subscribed by the name of a model; None for the
            class of the model.
        name: the durable name.
        key: equal for receivers of the same function.
    """

    function: ReceiverFunction
    options: Options
    sender: str | None = None
    name: str = field(init=False)
    key: Hashable = field(init=False)

    def __post_init__(self) -> None:
        # Kept, because the module that is run as a program may be another one later.
        object.__setattr__(self, "name", self.options.name or describe(self.function))
        object.__setattr__(self, "key", identity(self.function))

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

    def read(self, instance: object) -> object:
        """Return what the receiver gets for an instance that is in this process.

        Raises:
            ContractError: if the instance does not fit the receiver's schema.
        """
        schema = self.options.schema
        # A set has no snapshot. Asked of its class, because a set may explain missing attributes.
        if schema is None or not hasattr(type(instance), "snapshot"):
            return instance
        row: Any = instance
        # In the JSON form, as in a worker: a schema must not fit in one place only.
        return read_by(schema, loads(dumps(row.meta.stored(row.snapshot()))))


def check(function: object) -> ReceiverFunction:
    """Return the function if it keeps the contract of receivers.

    Raises:
        SignalError: naming the rule that the function breaks.
    """
    if not callable(function):
        hint = "without calling it" if inspect.isawaitable(function) else "`async def`"
        raise SignalError(
            f"a receiver must be callable; {function!r} is not: connect the function itself, {hint}"
        )
    name = describe(function)
    _check_parameters(function, name)
    if not _is_async(function):
        raise SignalError(
            f"the receiver {name} must be async (`async def`){_why_not_async(function)}: model "
            "operations are awaited. Call blocking code from the receiver with "
            "`await asyncio.to_thread(function, …)`"
        )
    return cast("ReceiverFunction", function)


def _why_not_async(function: Callable[..., object]) -> str:
    """Return what keeps a function from being async, where that is not plain."""
    if isinstance(function, type):
        return ", and is a class"
    if inspect.isasyncgenfunction(function):
        return " and return its outcome, without `yield`"
    if inspect.iscoroutinefunction(inspect.unwrap(function)):
        return ", and a decorator hides that: make the decorator's wrapper `async def`, too"
    return ""


def check_fits(function: ReceiverFunction, signal: str, options: Options) -> None:
    """Check that a built-in signal gives every parameter that a receiver requires.

    Raises:
        SignalError: naming the parameter that no call would have.
    """
    batch = options.batch is not None
    # A custom signal may be sent with any keywords, so nothing is known about its receivers.
    if batch or is_built_in(signal):
        keywords = BATCH_KEYWORDS if batch else BUILT_IN_KEYWORDS
        _check_required(function, signal, keywords)


def _check_required(function: ReceiverFunction, signal: str, keywords: Collection[str]) -> None:
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if variadic or parameter.default is not parameter.empty or parameter.name in keywords:
            continue
        hint = suggestion(parameter.name, keywords, "it gives")
        if parameter.name in BATCH_KEYWORDS:
            hint = "; receivers with batch=Batch(…) get it"
        raise SignalError(
            f"the receiver {describe(function)} requires `{parameter.name}`, which {signal} does "
            f"not give{hint}"
        )


def _check_parameters(function: Callable[..., object], name: str) -> None:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise SignalError(f"the receiver {name} has no readable signature: {error}") from error
    # Only the first parameter is passed by position; everything else comes by keyword.
    first = parameters[0] if parameters else None
    if first is None or first.name != "sender" or first.kind is first.KEYWORD_ONLY:
        hint = ""
        if first is not None and first.name == "self":
            hint = "; a method is connected when its object exists: post_save(User)(mailer.on_save)"
        raise SignalError(
            f"the receiver {name} must take `sender` as its first parameter: "
            f"async def receiver(sender, instance, **kwargs){hint}"
        )
    for parameter in parameters[1:]:
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.POSITIONAL_ONLY and required:
            raise SignalError(
                f"the receiver {name} takes `{parameter.name}` by position only, and receivers get "
                "everything but the sender by keyword: move the `/`"
            )
    # A later release may pass more keywords: a receiver without **kwargs would fail then.
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        raise SignalError(
            f"the receiver {name} must take **kwargs: signals may pass more to it than today, "
            "and it must not break then"
        )


def _is_async(function: Any) -> bool:
    # A decorator inside a class body gets the staticmethod object, which is not bound yet.
    while isinstance(function, partial | staticmethod):
        function = function.func if isinstance(function, partial) else function.__func__
    if isinstance(function, type):
        # Calling a class makes an instance and awaits nothing, also where instances are async.
        return False
    call = getattr(function, "__call__", None)  # noqa: B004 - the method itself is needed
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
