"""Share the parts of a group's consumer with all its tenures."""

from collections.abc import Callable
from dataclasses import dataclass, field

from edgy_bus.brokers.base import Broker, EntryId
from edgy_bus.events import Partition
from edgy_bus.portions import Portion
from edgy_bus.runtime.breakers import Breakers
from edgy_bus.runtime.failures import Failures
from edgy_bus.runtime.jobs import Stats
from edgy_bus.runtime.load import Load
from edgy_bus.runtime.meter import Meter
from edgy_bus.runtime.roster import GroupRoster
from edgy_bus.runtime.slots import ReceiverSlots, Slots
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.window import Window
from edgy_bus.settings import WorkerSettings
from edgy_bus.signing import Signer


@dataclass(frozen=True, slots=True)
class Tools:
    """Hold the parts that all tenures of a group in a process share.

    Attributes:
        broker: the store of streams.
        subscriptions: the receivers of the group.
        settings: the numbers of the worker.
        slots: slots for the calls that may run at the same time in this process.
        receivers: slots for the calls of each receiver that may wait at the same time.
        load: the bytes that this process has in hand.
        portion: the bytes of a read, by how the reads before went.
        stats: the counts of the group in this process.
        window: events that the group has finished lately in this process.
        idle: called when a tenure has read everything there is, with its partition and position.
        signer: knows the keys of signatures. With a signer, entries without a valid signature are
            dead letters; without, no signature is checked.
        breakers: the breakers of the receivers that fail.
        roster: the receivers that the group has; None where a single program is known to run.
        failures: reports the failed calls of receivers.
        meter: measures calls; None where nobody collects measurements.
    """

    broker: Broker
    subscriptions: Subscriptions
    settings: WorkerSettings
    slots: Slots
    receivers: ReceiverSlots
    load: Load
    portion: Portion
    stats: Stats
    window: Window
    idle: Callable[[Partition, EntryId], None]
    signer: Signer | None = None
    breakers: Breakers | None = None
    roster: GroupRoster | None = None
    failures: Failures = field(default_factory=Failures)
    meter: Meter | None = None
