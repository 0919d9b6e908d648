"""Database models whose signals cross process and service boundaries, reliably and in order.

import edgy_bus as edgy

database = edgy.Database("sqlite:///db.sqlite")
bus = edgy.Bus("redis://localhost:6379", service="accounts")
registry = edgy.Registry(database=database, bus=bus)
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edgy_bus.api import *  # noqa: F403 - the names are those of `edgy_bus.api.__all__`
    from edgy_bus.api import __all__ as __all__
else:

    def __getattr__(name):
        """Return a submodule or a public name, imported at its first use."""
        if name.startswith("__") and name != "__all__":
            raise _missing(name)
        # Submodules first: they import each other as `from edgy_bus import telemetry`, also while
        # the public names are imported.
        if _is_submodule(name):
            return import_module(f"{__name__}.{name}")
        api = import_module(f"{__name__}.api")
        globals().update({each: getattr(api, each) for each in ("__all__", *api.__all__)})
        if name not in globals():
            raise _missing(name)
        return globals()[name]

    def __dir__():
        return sorted({*globals(), *import_module(f"{__name__}.api").__all__})

    def _is_submodule(name):
        return find_spec(f"{__name__}.{name}") is not None

    def _missing(name):
        return AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
