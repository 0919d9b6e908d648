"""`@post_save(User)` and its siblings."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel

from edgy_bus.errors import SignalError
from edgy_bus.retry import Retry
from edgy_bus.signals.broadcaster import Broadcaster
from edgy_bus.signals.receiver import Batch, Inbox, OnExhausted, Options, ReceiverFunction

F = TypeVar("F", bound=ReceiverFunction)


class Connector:
    """Connects a receiver to one built-in signal of one or several models; see `Options` for the keywords."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}: use it as @{self.name}(Model)>"

    def __call__(
        self,
        senders: Any,
        *,
        name: str | None = None,
        group: str | None = None,
        local: bool = False,
        on_commit: bool = False,
        when_changed: Iterable[str] = (),
        where: Callable[[Any], bool] | None = None,
        ordered: bool = True,
        retry: Retry | None = None,
        on_exhausted: OnExhausted = "dead_letter",
        deadline: float | None = None,
        inbox: Inbox | None = None,
        batch: Batch | None = None,
        schema: type[BaseModel] | None = None,
    ) -> Callable[[F], F]:
        options = Options(
            name=name,
            group=group,
            local=local or self.name.startswith("pre_"),
            on_commit=on_commit,
            when_changed=when_changed,
            where=where,
            ordered=ordered,
            retry=retry or Retry(),
            on_exhausted=on_exhausted,
            deadline=deadline,
            inbox=inbox,
            batch=batch,
            schema=schema,
        )
        signals = [
            self._signal(sender)
            for sender in (senders if isinstance(senders, list | tuple | set) else [senders])
        ]

        def connect(function: F) -> F:
            for signal in signals:
                signal.connect(function, options)
            return function

        return connect

    def _signal(self, sender: Any) -> Any:
        signals = getattr(getattr(sender, "meta", None), "signals", None)
        if not isinstance(sender, type) or not isinstance(signals, Broadcaster):
            hint = (
                f'; for a model of another service use bus.receiver({sender!r}, "{self.name}")'
                if isinstance(sender, str)
                else ""
            )
            raise SignalError(
                f"@{self.name} takes a model or a list of models, not {sender!r}{hint}"
            )
        return signals[self.name]


pre_save = Connector("pre_save")
post_save = Connector("post_save")
pre_update = Connector("pre_update")
post_update = Connector("post_update")
pre_delete = Connector("pre_delete")
post_delete = Connector("post_delete")
