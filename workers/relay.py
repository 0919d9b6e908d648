"""Run the relay of `accounts`; the same as `edgy-bus relay workers.accounts:bus`."""

import sys

from edgy_bus.cli import main

if __name__ == "__main__":
    main(["relay", "workers.accounts:bus", *sys.argv[1:]])
