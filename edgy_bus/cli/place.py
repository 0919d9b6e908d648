"""Finds out where an operator's command works: at a bus, or at a broker alone."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from edgy_bus.bus import Bus
from edgy_bus.environment import BROKER
from edgy_bus.errors import ConfigurationError
from edgy_bus.loading import load_bus


@dataclass(frozen=True, slots=True)
class Address:
    """A broker, as the options of a command name it.

    Attributes:
        url: the URL of `--broker`, which may contain a password and is never shown.
        prefix: the prefix of the broker's keys.
    """

    url: str | None
    prefix: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command works.

    Attributes:
        name: the bus, as messages repeat it in commands; empty for a broker alone.
        bus: the bus; None for a broker alone.
        url: the URL of the broker, where there is no bus.
        prefix: the prefix of the broker's keys, where there is no bus.
    """

    name: str
    bus: Bus | None
    url: str = ""
    prefix: str = ""

    @property
    def group(self) -> str | None:
        """Return the group of the bus; None for a broker alone, which has many."""
        return None if self.bus is None else self.bus.group


def find_place(words: Sequence[str], address: Address) -> tuple[Place, list[str]]:
    """Return the place that a command names, and the words that are left.

    MODULE:BUS comes first. Without MODULE:BUS, the command works at the broker of `--broker`, or
    else at the broker of the environment.

    Raises:
        ConfigurationError: if nothing names a place, or if the place cannot be used.
    """
    # Names of models, groups and letters have no colon.
    names_bus = bool(words) and ":" in words[0]
    # Not repeated in the message, because a URL may contain a password.
    if names_bus and "://" in words[0]:
        raise ConfigurationError("a broker's URL is an option: write --broker URL")
    if names_bus and address.url is not None:
        raise ConfigurationError(f"name either {words[0]} or --broker, which may be another broker")
    if names_bus:
        return Place(words[0], load_bus(words[0])), list(words[1:])
    url = address.url or os.environ.get(BROKER)
    if not url:
        raise ConfigurationError(
            f"where is the bus? Write MODULE:BUS first, or --broker URL, or set {BROKER}"
        )
    return Place("", None, url, address.prefix), list(words)
