"""Finds the bus that `MODULE:ATTRIBUTE` names."""

import importlib
import os
import sys
from types import ModuleType

from edgy_bus.bus import Bus
from edgy_bus.errors import ConfigurationError


def load_bus(target: str) -> Bus:
    """Import the module, with the current folder on the path, and answer its bus.

    Raises `ConfigurationError` that says which part of `target` is wrong. An error inside the module is not disguised.
    """
    name, _, attribute = target.partition(":")
    if not name or not attribute:
        raise ConfigurationError(
            f"{target!r} does not name a bus: write MODULE:ATTRIBUTE, for example app:bus"
        )
    module = _module(name)
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(
                f"the module {name!r} has no {attribute!r}{_instead(name, module)}"
            )
        found = getattr(found, part)
    if not isinstance(found, Bus):
        raise ConfigurationError(
            f"{target} is not a Bus but a {type(found).__name__}{_instead(name, module)}"
        )
    return found


def _module(name: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise ConfigurationError(
            f"there is no module {error.name!r}: looked in {os.getcwd()} and in the installed packages"
        ) from error


def _instead(name: str, module: ModuleType) -> str:
    buses = [key for key, value in vars(module).items() if isinstance(value, Bus)]
    return f"; it has the bus {name}:{buses[0]}" if buses else "; there is no Bus in that module"
