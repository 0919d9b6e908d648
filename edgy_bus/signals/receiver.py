"""A receiver, its options, and the contract that is checked when it is connected."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol, get_args

from pydantic import BaseModel
from sqlalchemy import Dialect

from edgy_bus.errors import SignalError
from edgy_bus.retry import Retry

ReceiverFunction = Callable[..., Awaitable[Any]]
OnExhausted = Literal["dead_letter", "hold"]


class Inbox(Protocol):
    """What an inbox needs of a database; `edgy_bus.Database` is one."""

    @property
    def dialect(self) -> Dialect:
        """SQLAlchemy's name for the kind of database."""

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """A transaction of the current task."""

    async def run(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Any:
        """Run a statement in it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """How many events a batch receiver is called with: up to `size`, as many as have come when the first has waited `wait` seconds.

    They are events of one partition, each of another row unless the receiver is `ordered=False`. A receiver that raises is called again
    with each of them alone. It may answer an outcome for all of them, or a mapping from `event.id` to the outcomes of some.
    Where it runs in the process of the operation, it is called with one instance and no event.
    """

    size: int = 100
    wait: float = 0.1

    def __post_init__(self) -> None:
        if self.size < 1 or self.wait < 0:
            raise SignalError(f"{self}: size must be at least 1, wait (seconds) not negative")


@dataclass(frozen=True, slots=True)
class Options:
    """How a receiver is run.

    Args:
        name: its durable name, under which a group remembers what it has handled; `module.qualname` when not given.
        group: the consumer group that it belongs to; the bus's own when not given.
        local: run it in the process of the operation, also when the bus has a broker.
        on_commit: a local receiver waits for the outermost commit.
        when_changed: run it only when one of these fields is known to have changed, or when nothing is known.
        where: run it only for an instance for which `where(instance)` is true, and for sets, of which there is no instance.
        ordered: False lets a worker run it for several events of a row side by side, and in any order.
        retry: what happens after it failed.
        on_exhausted: what becomes of an event that the receiver has failed to handle for good. "dead_letter" keeps it in the dead letters and
            goes on with the row; "hold" parks it, and every later event of its row for this receiver, until somebody decides
            (`edgy-bus held`, `edgy-bus release`).
        deadline: seconds that one call may take; the worker's own when not given.
        inbox: the database in whose transaction the receiver runs, once per event and in the order of every row.
        batch: call it with several events at once, as `instances` and `events`; see `Batch`.
        schema: a pydantic model that the row is read with, for receivers that have no model class.
    """

    name: str | None = None
    group: str | None = None
    local: bool = False
    on_commit: bool = False
    when_changed: Iterable[str] = ()
    where: Callable[[Any], bool] | None = None
    ordered: bool = True
    retry: Retry = field(default_factory=Retry)
    on_exhausted: OnExhausted = "dead_letter"
    deadline: float | None = None
    inbox: Inbox | None = None
    batch: Batch | None = None
    schema: type[BaseModel] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.when_changed, str):
            raise SignalError(
                f'when_changed={self.when_changed!r} is text: write when_changed=("{self.when_changed}",)'
            )
        object.__setattr__(self, "when_changed", tuple(self.when_changed))
        if self.where is not None and not callable(self.where):
            raise SignalError(
                f"where={self.where!r} must be callable: where=lambda user: user.is_verified"
            )
        if self.inbox is not None and not self.ordered:
            raise SignalError(
                "an inbox keeps the order of rows: leave out ordered=False, or the inbox"
            )
        if self.on_exhausted not in get_args(OnExhausted):
            raise SignalError(f'on_exhausted={self.on_exhausted!r}: write "dead_letter" or "hold"')
        if self.on_exhausted == "hold" and not self.ordered:
            raise SignalError(
                'on_exhausted="hold" keeps the order of rows: leave it out, or ordered=False'
            )
        if self.batch is not None and not isinstance(self.batch, Batch):
            raise SignalError(f"batch={self.batch!r}: write batch=Batch(size=100, wait=0.1)")
        if self.deadline is not None and self.deadline <= 0:
            raise SignalError(f"deadline={self.deadline}: a receiver needs some time (seconds)")


@dataclass(frozen=True, slots=True)
class Receiver:
    """A function that keeps the contract, and how it is run."""

    function: ReceiverFunction
    options: Options

    @property
    def name(self) -> str:
        return self.options.name or describe(self.function)

    @property
    def picky(self) -> bool:
        """Whether `wants` may ever say no."""
        return bool(self.options.when_changed) or self.options.where is not None

    def wants(self, changes: Mapping[str, Any] | None, instance: Any = None) -> bool:
        """Whether it is interested in these changes of this instance; None when nothing is known about them."""
        wanted, where = self.options.when_changed, self.options.where
        if wanted and changes is not None and not any(name in changes for name in wanted):
            return False
        return where is None or instance is None or bool(where(instance))


def describe(function: Any) -> str:
    """`module.qualname` of a function, a method, a partial or a callable object."""
    while isinstance(function, partial):
        function = function.func
    target = function if hasattr(function, "__qualname__") else type(function)
    return f"{target.__module__}.{target.__qualname__}"


def check(function: Any) -> ReceiverFunction:
    """Answer the function if it keeps the contract of receivers; otherwise raise `SignalError` naming the rule."""
    if not callable(function):
        raise SignalError(f"a receiver must be callable; {function!r} is not")
    name = describe(function)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise SignalError(f"the receiver {name} has no readable signature: {error}") from error
    if (
        not parameters
        or parameters[0].name != "sender"
        or parameters[0].kind is inspect.Parameter.KEYWORD_ONLY
    ):
        raise SignalError(
            f"the receiver {name} must take `sender` as its first parameter: "
            "async def receiver(sender, instance, **kwargs)"
        )
    if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        raise SignalError(
            f"the receiver {name} must take **kwargs: signals may pass more to it than today, "
            "and it must not break then"
        )
    if not _is_async(function):
        raise SignalError(
            f"the receiver {name} must be async (`async def`): model operations are awaited"
        )
    checked: ReceiverFunction = function
    return checked


def _is_async(function: Any) -> bool:
    while isinstance(function, partial | staticmethod):
        function = function.func if isinstance(function, partial) else function.__func__
    if isinstance(function, type):
        return False  # calling it makes an instance, whatever calling the instance does
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method is wanted, not the answer whether there is one
    )
