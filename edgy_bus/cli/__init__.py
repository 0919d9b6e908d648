"""The command line: `edgy-bus worker|relay|demo|health`."""

from edgy_bus.cli.app import main

__all__ = ["main"]
