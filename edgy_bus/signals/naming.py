"""The durable names of receivers, and the identity of functions."""

import os
import sys
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial

_MAIN = ("__main__", "__mp_main__")
"""The names of a module that is run: by Python, and in processes of `multiprocessing`."""


def describe(function: object) -> str:
    """Return `module.qualname` of a function, a method, a partial or a callable object.

    A module that is run (`python app.py`, `python -m app`) has the name under which others import
    the module: workers import what services run.
    """
    # A partial and an object have no name of their own: they get that of their function or class.
    while isinstance(function, partial):
        function = function.func
    qualname = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{_imported_name(module)}.{qualname}"


def _imported_name(module: str) -> str:
    """Return the name of a module for importers, also while the module is run as a program."""
    running = sys.modules.get(module) if module in _MAIN else None
    if running is None:
        return module
    spec = getattr(running, "__spec__", None)
    if spec is not None and spec.name not in _MAIN:
        # `python -m app`, and `python -m package`, which runs `package.__main__`.
        return str(spec.name)
    # None in a notebook, in `python -c` and at the prompt: nothing can import such code.
    return _name_of_file(getattr(running, "__file__", None)) or module


def _name_of_file(path: str | None) -> str | None:
    """Return the name of the module in a file, with the packages that the file belongs to."""
    if not path:
        return None
    folder, file = os.path.split(os.path.abspath(path))
    parts = [os.path.splitext(file)[0]]
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    name = ".".join(parts)
    # The program of a folder or an archive, whose name nobody imports.
    return None if name == "__main__" else name


@dataclass(frozen=True, slots=True, eq=False)
class _Unhashable:
    """Stands for a function that cannot be hashed, in sets and dictionaries of functions."""

    function: object

    def __eq__(self, value: object) -> bool:
        return isinstance(value, _Unhashable) and self.function is value.function

    def __hash__(self) -> int:
        return id(self.function)


def identity(function: object) -> Hashable:
    """Return a key that is equal for the same function, and for the same method of an object."""
    try:
        hash(function)
    except TypeError:
        # A dataclass with `__call__` is such an object, for example.
        return _Unhashable(function)
    return function
