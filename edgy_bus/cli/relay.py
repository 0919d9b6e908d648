"""`edgy-bus relay app:bus`: a program that moves the outbox to the broker."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from edgy_bus.bus import Bus
from edgy_bus.cli.life import Life
from edgy_bus.cli.running import MARGIN, Stop, connect, patiently, run, served_at
from edgy_bus.http import Address, ServiceView, show
from edgy_bus.loading import load_bus
from edgy_bus.services import happens

_STEP = 10.0
"""Seconds for the step in hand. What a relay leaves undone, the next relay finds and finishes."""


def publish(
    target: str,
    *,
    modules: Sequence[str],
    health_file: Path | None,
    http: str | None,
    verbose: bool,
) -> None:
    """Publish the events of the outboxes of a bus until the program is stopped."""
    address = served_at(http)
    bus = load_bus(target)
    bus.view = ServiceView(None)  # the service has that address
    bus.import_receivers(*modules)
    bus.relays()  # a bus without an outbox is refused before anything is started
    run(lambda stop: _publish(bus, Life(health_file), address, stop), verbose=verbose)


async def _publish(bus: Bus, life: Life, address: Address | None, stop: Stop) -> None:
    async with AsyncExitStack() as stack:
        showing = None
        if address is not None:
            showing = await show(address, life.pulse, stack, groups=True)
        if not await connect(bus.databases(), stack, stop, life.progress):
            return
        # The database may be cut off again while the hooks run and the tables are created.
        if not await patiently(lambda: stack.enter_async_context(bus), stop, life.progress):
            return
        if showing is not None:
            showing.attach(await stack.enter_async_context(bus.operating()), stack)
        relays = [await stack.enter_async_context(relay) for relay in bus.relays()]
        stop.may_take(_STEP + MARGIN)
        while not stop.asked.is_set():
            # A relay that hangs does not look alive: a supervisor restarts the program.
            if all(relay.alive for relay in relays):
                life.progress(is_ready=all(relay.ready for relay in relays))
            await happens(stop.asked, 2)
