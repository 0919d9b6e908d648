"""Refuse what cannot publish, with the reason and the remedy."""

import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Protocol

from edgy_bus.errors import ConfigurationError, ModelError
from edgy_bus.integrations.edgy.cascades import Models, references_to
from edgy_bus.integrations.edgy.publishing import AUTOCOMMIT
from edgy_bus.lifecycle import Lifecycle
from edgy_bus.signals import suggestion
from edgy_bus.sources import Value

EDGY = (0, 37)
"""The oldest release of Edgy whose statements can be published."""


class Startable(Protocol):
    """The part of a bus that is looked at."""

    lifecycle: Lifecycle


def check_publishing(registry: Value, bus: Startable) -> None:
    """Refuse a registry or a bus that cannot publish.

    Raises:
        ConfigurationError: with the reason.
    """
    # Looked up, because Edgy may be missing. A program that has a registry has imported Edgy.
    edgy = sys.modules.get("edgy")
    if edgy is None or not isinstance(registry, edgy.Registry):
        raise ConfigurationError(
            f"publish() takes a registry of Edgy, not {registry!r}: publish(registry, bus)"
        )
    _check_version()
    lifecycle = getattr(bus, "lifecycle", None)
    if not isinstance(lifecycle, Lifecycle):
        raise ConfigurationError(f"publish() takes a bus, not {bus!r}: publish(registry, bus)")
    if lifecycle.is_running:
        raise ConfigurationError(
            "the bus runs already, and its relay would not read the outbox of this registry: call "
            "publish(registry, bus) before the bus starts"
        )
    if getattr(registry.database, "backend", None) is None:
        raise ConfigurationError(
            "this registry has no database, so events cannot be written where its rows are: "
            "Registry(database=…)"
        )
    if registry.database.options.get("isolation_level", AUTOCOMMIT) != AUTOCOMMIT:
        raise ConfigurationError(
            "the database of this registry has an isolation_level, with which Edgy commits no "
            "statement outside of transactions: leave it out, and give it to database.transaction"
        )
    if registry.database.is_connected:
        raise ConfigurationError(
            "this registry is connected already, and statements of its open connections would not "
            "be published: call publish(registry, bus) before the registry connects"
        )


def _check_version() -> None:
    installed = version("edgy")
    if tuple(int(part) for part in installed.split(".")[:2] if part.isdigit()) < EDGY:
        raise ConfigurationError(
            f"Edgy {installed} is too old: publish() needs Edgy {EDGY[0]}.{EDGY[1]} or newer"
        )


def check_model(sender: Value, registry: Value) -> None:
    """Refuse a model whose rows cannot be published.

    Raises:
        ModelError: naming the model.
    """
    name, left_out = sender.__name__, f"publish(registry, bus, exclude=[{sender.__name__!r}])"
    if sender.__reflected__:
        raise ModelError(
            f"{name} is reflected: its fields are known only when the registry is connected. Leave "
            f"the model out: {left_out}"
        )
    if getattr(sender.meta, "is_tenant", False):
        raise ModelError(
            f"{name} is a model of tenants: rows of several schemas would have the same keys. "
            f"Leave the model out: {left_out}"
        )
    if sender.database is not registry.database:
        raise ModelError(
            f"{name} is in another database than its registry, and events are written where the "
            f"rows are. Leave the model out: {left_out}"
        )


def check_excluded(
    excluded: Iterable[str], declared: Mapping[str, Value], published: Models
) -> None:
    """Refuse to leave out models that do not exist, or whose rows published rows follow.

    Args:
        excluded: the names of the models that are not published.
        declared: the models of the registry, by name.
        published: the published models.

    Raises:
        ConfigurationError: naming the models.
    """
    for name in excluded:
        if name not in declared:
            hint = suggestion(name, declared, "the models are")
            raise ConfigurationError(
                f"publish(exclude=…) names {name!r}, and the registry has no such model{hint}"
            )
        # A reflected table is known once the registry is connected.
        table = None if declared[name].__reflected__ else declared[name].table
        for reference in () if table is None else references_to(published, table.key):
            raise ConfigurationError(
                f"the database changes rows of {reference.model.name} when rows of {name} are "
                f"deleted (on_delete), and publish() leaves {name} out, so these changes would "
                f"have no events: publish {name}, or leave out {reference.model.name} as well"
            )
