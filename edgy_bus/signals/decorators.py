"""`@post_save(User)` and its siblings."""

from collections.abc import Collection
from typing import Never, TypeVar, Unpack, cast

from edgy_bus.errors import SignalError
from edgy_bus.signals.broadcaster import Broadcaster
from edgy_bus.signals.keywords import PRE_SIGNALS
from edgy_bus.signals.options import ModelKeywords, Options
from edgy_bus.signals.receiver import ReceiverFunction
from edgy_bus.signals.signal import Signal
from edgy_bus.signals.typing import Connect, Connected

S = TypeVar("S")

Models = Collection[type[object]]
"""A list, a tuple or a set."""

DESCRIPTION = "__edgy_bus__"
"""The attribute of a foreign ORM's class that holds the description of the model."""


class Connector:
    """Connects receivers to a built-in signal; see `Options` for the keywords."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}: use it as @{self.name}(Model)>"

    def __call__(
        self,
        senders: type[S] | Models | None = None,
        *more: Never,
        **keywords: Unpack[ModelKeywords],
    ) -> Connect[S]:
        """Return a decorator that connects a receiver to a model, or to each model of a list.

        Raises:
            SignalError: for a wrong option, or for a sender that is not a model class.
        """
        if senders is None or more:
            count = "no argument" if senders is None else "several arguments"
            raise self._refused(count, f"write @{self.name}(User), or @{self.name}([User, Order])")
        # A pre_* receiver may change or stop the operation, so no worker can run the receiver.
        if self.name in PRE_SIGNALS:
            keywords["local"] = True
        options = Options(**keywords)
        models = senders if isinstance(senders, list | tuple | set) else [senders]
        if not models:
            raise self._refused("an empty list", f"write @{self.name}([User, Order])")
        signals = [self._signal(model) for model in models]
        # All models are checked before any is connected: a mistake connects nothing.
        for signal in signals:
            signal.check(options)

        def connect(function: ReceiverFunction) -> Connected:
            for signal in signals:
                signal.connect(function, options)
            return cast(Connected, function)

        return connect

    def _signal(self, sender: object) -> Signal:
        if isinstance(sender, type):
            described = vars(sender).get(DESCRIPTION)
            # A class of a foreign ORM may have an attribute `meta` of its own, and the description
            # of a class that it is a copy of.
            if described is None or described.sender is not sender:
                described = getattr(sender, "meta", None)
            signals = getattr(described, "signals", None)
            if isinstance(signals, Broadcaster):
                return signals[self.name]
        raise self._refused(*self._described(sender))

    def _described(self, sender: object) -> tuple[str, str]:
        """Return a wrong sender as text, and what to write instead."""
        if isinstance(sender, str):
            use = f'bus.receiver({sender!r}, "{self.name}")'
            return repr(sender), f"for a model of another service use {use}"
        model = type(sender)
        if isinstance(getattr(getattr(model, "meta", None), "signals", None), Broadcaster):
            # Not the instance's own text, which shows values of the row.
            name = model.__name__
            return f"an instance of {name}", f"write the class, @{self.name}({name})"
        if hasattr(sender, "__mapper__"):
            use = "edgy_bus.integrations.sqlalchemy.publish(Session, Base, bus)"
            return repr(sender), f"call {use} before"
        if isinstance(sender, type) and type(sender).__module__.startswith("edgy."):
            use = "edgy_bus.integrations.edgy.publish(registry, bus)"
            return sender.__name__, f"call {use} before"
        if isinstance(sender, type):
            return sender.__name__, f"{sender.__name__} is no edgy_bus.Model"
        return repr(sender), f"write @{self.name}(User) above the receiver"

    def _refused(self, sender: str, hint: str) -> SignalError:
        return SignalError(f"@{self.name} takes a model or a list of models, not {sender}; {hint}")


pre_save = Connector("pre_save")
post_save = Connector("post_save")
pre_update = Connector("pre_update")
post_update = Connector("post_update")
pre_delete = Connector("pre_delete")
post_delete = Connector("post_delete")
