"""Who hears of what: the receivers of one group, by model and signal."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgy_bus.errors import ConfigurationError
from edgy_bus.signals import Inbox, Receiver


@dataclass(frozen=True, slots=True)
class Subscription:
    """A receiver of a group, and what it is given."""

    group: str
    model: str
    """With the service: `accounts.User`."""
    signal: str
    receiver: Receiver
    sender: Any
    """The model class, or its name where there is no class."""
    read: Callable[[Mapping[str, Any] | None], Any]
    """Makes the instance from an event's row."""
    name: str = field(init=False)
    """The durable name of the receiver."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.receiver.name)


class Subscriptions:
    """Every subscription of one group."""

    def __init__(self, group: str, subscriptions: Iterable[Subscription]) -> None:
        self.group = group
        self._all = tuple(one for one in subscriptions if one.group == group)
        self._by_event: dict[tuple[str, str], list[Subscription]] = {}
        for one in self._all:
            same = self._by_event.setdefault((one.model, one.signal), [])
            if any(other.name == one.name for other in same):
                raise ConfigurationError(
                    f"two receivers of group {group!r} for {one.model}.{one.signal} have the name {one.name!r}, under which "
                    'the group remembers what is done; give one of them another: name="…"'
                )
            same.append(one)

    def __len__(self) -> int:
        return len(self._all)

    def of(self, model: str, signal: str) -> list[Subscription]:
        """The subscriptions that an event concerns, in the order in which they were made."""
        return self._by_event.get((model, signal), [])

    @property
    def ordered_models(self) -> tuple[str, ...]:
        """Models of which something else than a `pre_*` signal is subscribed to."""
        return tuple(
            dict.fromkeys(one.model for one in self._all if not one.signal.startswith("pre_"))
        )

    @property
    def pre_models(self) -> tuple[str, ...]:
        """Models of which a `pre_*` signal is subscribed to."""
        return tuple(dict.fromkeys(one.model for one in self._all if one.signal.startswith("pre_")))

    @property
    def inboxes(self) -> tuple[Inbox, ...]:
        """The databases that receivers keep an inbox in."""
        found = {
            id(inbox): inbox
            for one in self._all
            if (inbox := one.receiver.options.inbox) is not None
        }
        return tuple(found.values())


class Snapshot:
    """A row of a model whose class is not here: its fields are attributes."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)

    def __repr__(self) -> str:
        return f"Snapshot({', '.join(self.__dict__)})"
