"""Show metrics, health and lag of a program over HTTP: `--http [HOST:]PORT`, `Bus(http=…)`.

The server needs the extra `edgy_bus[http]`. A thread of its own runs the server, which answers also
while a receiver blocks the event loop. No error of the server ends the program's work.
"""

from edgy_bus.http.address import Address, parse
from edgy_bus.http.program import require, show
from edgy_bus.http.service import ServiceView
from edgy_bus.http.showing import Showing

__all__ = ["Address", "ServiceView", "Showing", "parse", "require", "show"]
