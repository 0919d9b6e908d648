"""The testing kit: what makes code that uses edgy_bus easy to test, and servers to test against.

pytest finds the plugin by itself. Nothing here is imported by the rest of the library but the demo,
which needs a server as well.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgy_bus.testing.calls import Call
    from edgy_bus.testing.inline_bus import Dead, InlineBus, Waiting, inline
    from edgy_bus.testing.making import make
    from edgy_bus.testing.redis import RedisOfTest

__all__ = ["Call", "Dead", "InlineBus", "RedisOfTest", "Waiting", "inline", "make"]

_HOMES = {
    "Call": "calls",
    "Dead": "inline_bus",
    "InlineBus": "inline_bus",
    "RedisOfTest": "redis",
    "Waiting": "inline_bus",
    "inline": "inline_bus",
    "make": "making",
}


def __getattr__(name: str) -> Any:
    # At their first use: pytest imports this package in every project that has it installed.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
