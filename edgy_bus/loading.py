"""Imports the bus that `MODULE:ATTRIBUTE` names."""

import importlib
import inspect
import os
import sys
from pathlib import Path
from types import FunctionType, ModuleType

from edgy_bus.bus import Bus
from edgy_bus.errors import ConfigurationError
from edgy_bus.signals import suggestion


def load_bus(target: str) -> Bus:
    """Import a module, with the current folder on the path, and return its bus.

    The attribute is the bus, or a function that makes the bus: `create_…` or `make_…`, called
    without arguments. An error inside of the module or the function reaches the caller unchanged.

    Raises:
        ConfigurationError: naming the part of `target` that is wrong.
    """
    name, _, attribute = target.partition(":")
    if "/" in name or name.endswith(".py"):
        dotted = name.removesuffix(".py").strip("./").replace("/", ".")
        raise ConfigurationError(
            f"{target!r} names a file: write MODULE:ATTRIBUTE, {dotted}:{attribute or 'bus'}"
        )
    if not name or not attribute:
        raise ConfigurationError(
            f"{target!r} does not name a bus: write MODULE:ATTRIBUTE, for example app:bus"
        )
    module = _module(name)
    value: object = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise ConfigurationError(
                f"the module {name!r} has no {attribute!r}{_instead(name, module)}"
            )
        value = getattr(value, part)
    is_function = isinstance(value, FunctionType)
    if isinstance(value, FunctionType):
        value = _made_by(target, value)
    if not isinstance(value, Bus):
        claim = "does not return a Bus but" if is_function else "is not a Bus but"
        kind = type(value).__name__
        raise ConfigurationError(f"{target} {claim} a value of type {kind}{_instead(name, module)}")
    return value


def _made_by(target: str, function: FunctionType) -> object:
    """Call a function that makes a bus.

    The prefixes keep a mistake from running another function, for example `main`.
    """
    if not function.__name__.startswith(("create_", "make_")):
        raise ConfigurationError(
            f"{target} is a function; a function that makes the bus is named create_… or make_…"
        )
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(f"{target} is a coroutine function; write it with a plain def")
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise ConfigurationError(f"{target} is called without arguments: {error}") from None
    return function()


def _module(name: str) -> ModuleType:
    # A console script has the folder of the script on its path, not the current folder.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The target is right if its module imports a module in vain: the program is wrong.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        hint = suggestion(str(error.name), _modules_here(), "")
        raise ConfigurationError(
            f"there is no module {error.name!r}: "
            f"looked in {os.getcwd()} and in the installed packages"
            f"{hint if hint.endswith('?') else '; run the command in the folder of the program'}"
        ) from error


def _modules_here() -> list[str]:
    """Return the names of the modules and packages in the current folder."""
    return [path.stem for path in Path.cwd().iterdir() if path.suffix == ".py" or path.is_dir()]


def _instead(name: str, module: ModuleType) -> str:
    buses = [key for key, value in vars(module).items() if isinstance(value, Bus)]
    return f"; it has the bus {name}:{buses[0]}" if buses else "; there is no Bus in that module"
