"""Find the receivers of a group that an event concerns, by model and signal."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgy_bus.errors import ConfigurationError
from edgy_bus.events import Partition
from edgy_bus.signals import Inbox, Receiver


@dataclass(frozen=True, slots=True)
class Subscription:
    """Connect a receiver to a signal of a model, in a group.

    Attributes:
        group: the group that the receiver belongs to.
        model: the model with its service: `accounts.User`.
        signal: the signal's name.
        receiver: the function and its options.
        sender: the receiver's first argument: the model class, or the model's name where the class
            is not here.
        read: makes the instance from an event's row.
        typed: whether `read` converts the values to the types of a model's fields.
        former: the name under which the group knows the receiver, if an operator has renamed it.
        name: the durable name of the receiver, under which the group remembers its progress.
        reported: what was reported about the receiver, and is not reported again.
    """

    group: str
    model: str
    signal: str
    receiver: Receiver
    sender: Any
    read: Callable[[Mapping[str, Any]], Any]
    typed: bool = False
    former: str = ""
    name: str = field(init=False)
    reported: set[str] = field(init=False, default_factory=set, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Kept, because a receiver computes its name, and the name is read for every event.
        object.__setattr__(self, "name", self.former or self.receiver.name)


class Subscriptions:
    """Hold every subscription of a group.

    Attributes:
        group: the name of the group.
        all: the subscriptions.
    """

    def __init__(self, group: str, subscriptions: Iterable[Subscription]) -> None:
        self.group = group
        self.all = tuple(each for each in subscriptions if each.group == group)
        self._by_event: dict[tuple[str, str], list[Subscription]] = {}
        for subscription in self.all:
            key = (subscription.model, subscription.signal)
            siblings = self._by_event.setdefault(key, [])
            if any(sibling.name == subscription.name for sibling in siblings):
                raise ConfigurationError(
                    f"two receivers of group {group!r} for {subscription.model}."
                    f"{subscription.signal} have the name {subscription.name!r}, under which the "
                    'group remembers what is done; give one of them another: name="…"'
                )
            siblings.append(subscription)

    def known_by(self, names: Mapping[str, str]) -> "Subscriptions":
        """Return the subscriptions by the names under which the group knows the receivers.

        Args:
            names: other names of receivers, and the names in the group's roster.

        Raises:
            ConfigurationError: if the program has two receivers that the group knows as one.
        """
        known: dict[str, str] = {}
        for name in sorted({each.receiver.name for each in self.all}):
            former = names.get(name, name)
            if former in known:
                raise ConfigurationError(
                    f"{known[former]!r} and {name!r} are names of one receiver of the group "
                    f"{self.group!r} since `edgy-bus receiver rename`, and the program has two: "
                    'give one of them another name, name="…", or take the other names of '
                    f"{former!r} back: edgy-bus receiver rename MODULE:BUS {former} {former}"
                )
            known[former] = name
        renamed = (replace(each, former=names.get(each.receiver.name, "")) for each in self.all)
        return Subscriptions(self.group, renamed)

    def only(self, receiver: str) -> "Subscriptions":
        """Return the subscriptions of one receiver."""
        return Subscriptions(self.group, [each for each in self.all if each.name == receiver])

    def at(self, partition: Partition) -> frozenset[str]:
        """Return the names of the receivers that events of a partition concern."""
        return frozenset(
            each.name for each in self.all if belongs(each.model, each.signal, partition)
        )

    def __len__(self) -> int:
        return len(self.all)

    def of(self, model: str, signal: str) -> list[Subscription]:
        """Return the subscriptions that an event concerns, in the order of connecting."""
        return self._by_event.get((model, signal), [])

    @property
    def ordered_models(self) -> tuple[str, ...]:
        """Return the models with a subscription to another signal than `pre_*`."""
        models = (each.model for each in self.all if not each.signal.startswith("pre_"))
        return tuple(dict.fromkeys(models))

    @property
    def pre_models(self) -> tuple[str, ...]:
        """Return the models with a subscription to a `pre_*` signal."""
        models = (each.model for each in self.all if each.signal.startswith("pre_"))
        return tuple(dict.fromkeys(models))

    @property
    def inboxes(self) -> tuple[Inbox, ...]:
        """Return the databases that receivers keep an inbox in, each once."""
        # By identity: an inbox is any object with the right methods, perhaps without a hash.
        inboxes: dict[int, Inbox] = {}
        for subscription in self.all:
            inbox = subscription.receiver.options.inbox
            if inbox is not None:
                inboxes[id(inbox)] = inbox
        return tuple(inboxes.values())


def belongs(model: str, signal: str, partition: Partition) -> bool:
    """Return whether events of a signal of a model are on a partition."""
    return model == partition.model and signal.startswith("pre_") != partition.ordered


class Snapshot:
    """Show a row of a model whose class is not here, with the row's fields as attributes."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    def __repr__(self) -> str:
        # Names only: a representation ends up in logs, and the values are the row's.
        return f"Snapshot({', '.join(self.__dict__)})"
