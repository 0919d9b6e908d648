"""Imports the modules that hold receivers, so that no receiver is absent without a word."""

import importlib
import os
from collections.abc import Callable, Iterable, Mapping

from edgy_bus import telemetry
from edgy_bus.errors import ConfigurationError
from edgy_bus.reasons import describe, frames
from edgy_bus.telemetry import catalogue

_WHERE = "Bus(receivers=…) or --import"


class ReceiverModules:
    """The modules that hold the receivers of a bus.

    Args:
        names: of modules, `app.receivers` for example.
        connected: counts the connected receivers by the module of their function.
    """

    def __init__(self, names: Iterable[str], connected: Callable[[], Mapping[str, int]]) -> None:
        self._connected = connected
        self._names: list[str] = []
        self._idle: list[str] = []
        self.add(names)

    def add(self, names: Iterable[str]) -> None:
        """Add modules, which are imported with the others.

        Raises:
            ConfigurationError: for a name that is no text.
        """
        chosen = [names] if isinstance(names, str) else list(names)
        for name in chosen:
            if not isinstance(name, str) or not name or name.startswith("."):
                raise ConfigurationError(
                    f"{_WHERE} contains {name!r}: write the full name of a module, "
                    '"app.receivers" for example'
                )
            if "/" in name or "\\" in name or name.endswith(".py"):
                module = name.removesuffix(".py").replace("\\", "/").strip("./").replace("/", ".")
                raise ConfigurationError(
                    f"{_WHERE} contains {name!r}, the path of a file: write the name of the "
                    f'module, "{module}"'
                )
        self._names += chosen

    def load(self) -> None:
        """Import the modules that are not imported yet.

        Raises:
            ConfigurationError: naming the module that cannot be imported, and the error.
        """
        while self._names:
            name = self._names[0]
            before = sum(self._connected().values())
            _import(name)
            # Taken off the list only now: the next start tries a module that failed again.
            self._names.pop(0)
            after = self._connected()
            # A module that was imported before connects nothing now, but has connected something.
            owners = [owner for owner in after if f"{owner}.".startswith(f"{name}.")]
            if sum(after.values()) == before and not owners:
                self._idle.append(name)

    def report(self) -> None:
        """Report the modules that connect no receiver of this bus, once."""
        idle, self._idle = self._idle, []
        for name in idle:
            telemetry.emit(catalogue.ModuleConnectsNothing(module=name))


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The name is right if the module itself imports another module in vain.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(name, error) from error
        raise ConfigurationError(
            f"{_WHERE} names {name!r}, and there is no module {error.name!r}: looked in "
            f"{os.getcwd()} and in the installed packages"
        ) from error
    except Exception as error:
        raise _failed(name, error) from error


def _failed(name: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"{_WHERE} names {name!r}, whose import failed: {describe(error)} (at "
        f"{frames(error).rpartition(' > ')[2]}); mend the module, or take it out of the list"
    )
