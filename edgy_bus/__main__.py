"""`python -m edgy_bus` is `edgy-bus`."""

from edgy_bus.cli import main

main()
