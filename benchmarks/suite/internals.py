"""Isolate the parts of `edgy_bus` that the suite needs beyond its public API.

The suite also measures older checkouts (`suite/compare.py`). A module that moves is therefore
imported here, where a function can support both places.
"""

from collections.abc import Mapping
from typing import Any

import edgy_bus as edgy
from edgy_bus.cli.running import collect_less
from edgy_bus.testing.servers import (
    POSTGRES_VARIABLE,
    REDIS_VARIABLE,
    Server,
    find_postgresql,
    find_redis,
    postgres_execute,
)

__all__ = [
    "POSTGRES_VARIABLE",
    "REDIS_VARIABLE",
    "Server",
    "announce",
    "chunks_of",
    "collect_less",
    "find_postgresql",
    "find_redis",
    "postgres_execute",
]


def chunks_of(count: int) -> edgy.RelaySettings:
    """Return relay settings with `count` events in a publishing script."""
    # The setting is called `batch` in older releases.
    name = "chunk" if "chunk" in edgy.RelaySettings.model_fields else "batch"
    return edgy.RelaySettings.model_validate({name: count})


def announce(
    registry: edgy.Registry, signal: str, instance: edgy.Model, values: Mapping[str, Any]
) -> None:
    """Announce a `pre_*` event of an instance, as an operation does before its SQL."""
    writer: Any = getattr(registry, "writer", None)
    if writer is not None:
        writer.announce(type(instance).meta, signal, instance, values)
        return
    # Older releases have a recorder, which takes the class of the model.
    recorder: Any = vars(registry)["recorder"]
    recorder.announce(type(instance), signal, instance, values)
