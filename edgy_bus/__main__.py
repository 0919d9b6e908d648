"""Run the command line interface: `python -m edgy_bus` does the same as `edgy-bus`."""

from edgy_bus.cli import main

main()
