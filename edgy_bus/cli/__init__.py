"""The command line, `edgy-bus`: a module for each command, and the parts that commands share."""

from edgy_bus.cli.app import main

__all__ = ["main"]
