"""The types of receivers: what type checkers require of a function that is connected."""

from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol, TypeVar

from edgy_bus.events import Event

Value = Any
"""Anything: the annotations of the application decide."""

S_contra = TypeVar("S_contra", contravariant=True)
"""The type of the instances."""

S = TypeVar("S")


# `**kwargs` are objects: for `Any`, pyright would accept every parameter that is missing here.


class InstanceReceiver(Protocol[S_contra]):
    """A receiver of single events, with every keyword that built-in signals give.

    A receiver names the keywords that it uses, and takes all others, also those of later releases,
    by `**kwargs`. A keyword without a value is None; `receivers.md` says where.
    """

    def __call__(
        self,
        sender: Value,
        *,
        instance: S_contra,
        model_instance: S_contra,
        values: Value,
        column_values: Value,
        is_update: bool,
        changes: dict[str, Value],
        row_count: int,
        operation_skipped: bool,
        keys: Value,
        event: Event,
        **kwargs: object,
    ) -> Awaitable[object]: ...


class BatchReceiver(Protocol[S_contra]):
    """A receiver with `batch=Batch(…)`."""

    def __call__(
        self, sender: Value, *, instances: S_contra, events: list[Event], **kwargs: object
    ) -> Awaitable[object]: ...


class Connected(Protocol):
    """A receiver after its connection: the function itself, with the type of any call."""

    # The type of the function would get lost in the check of its instance: a type variable cannot
    # have a bound with another type variable.
    __name__: str
    __qualname__: str

    def __call__(
        self, sender: Value, instance: Value = ..., **kwargs: Value
    ) -> Coroutine[Value, Value, Value]: ...


class Connect(Protocol[S]):
    """A decorator that connects a receiver, and returns the same function."""

    def __call__(self, function: InstanceReceiver[S] | BatchReceiver[list[S]], /) -> Connected: ...
