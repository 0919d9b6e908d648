"""`@post_save(User)` and its siblings."""

from collections.abc import Callable
from typing import TypeVar, Unpack

from edgy_bus.errors import SignalError
from edgy_bus.signals.broadcaster import Broadcaster
from edgy_bus.signals.keywords import PRE_SIGNALS
from edgy_bus.signals.options import ModelKeywords, Options
from edgy_bus.signals.receiver import ReceiverFunction
from edgy_bus.signals.signal import Signal

F = TypeVar("F", bound=ReceiverFunction)

DESCRIPTION = "__edgy_bus__"
"""The attribute of a foreign ORM's class that holds the description of the model."""


class Connector:
    """Connects receivers to a built-in signal; see `Options` for the keywords."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}: use it as @{self.name}(Model)>"

    def __call__(self, senders: object, **keywords: Unpack[ModelKeywords]) -> Callable[[F], F]:
        """Return a decorator that connects a receiver to a model, or to each model of a list.

        Raises:
            SignalError: for a wrong option, or for a sender that is not a model class.
        """
        # A pre_* receiver may change or stop the operation, so no worker can run the receiver.
        if self.name in PRE_SIGNALS:
            keywords["local"] = True
        options = Options(**keywords)
        models = senders if isinstance(senders, list | tuple | set) else [senders]
        signals = [self._signal(model) for model in models]
        # All models are checked before any is connected: a mistake connects nothing.
        for signal in signals:
            signal.check(options)

        def connect(function: F) -> F:
            for signal in signals:
                signal.connect(function, options)
            return function

        return connect

    def _signal(self, sender: object) -> Signal:
        if isinstance(sender, type):
            # A class of a foreign ORM may have an attribute `meta` of its own.
            described = vars(sender).get(DESCRIPTION, getattr(sender, "meta", None))
            signals = getattr(described, "signals", None)
            if isinstance(signals, Broadcaster):
                return signals[self.name]
        hint = ""
        if isinstance(sender, str):
            hint = f'; for a model of another service use bus.receiver({sender!r}, "{self.name}")'
        elif hasattr(sender, "__mapper__"):
            hint = "; call edgy_bus.integrations.sqlalchemy.publish(Session, Base, bus) before"
        raise SignalError(f"@{self.name} takes a model or a list of models, not {sender!r}{hint}")


pre_save = Connector("pre_save")
post_save = Connector("post_save")
pre_update = Connector("pre_update")
post_update = Connector("post_update")
pre_delete = Connector("pre_delete")
post_delete = Connector("post_delete")
