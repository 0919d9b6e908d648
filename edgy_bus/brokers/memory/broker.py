"""The memory broker: all roles together."""

from typing import ClassVar

from edgy_bus.brokers.base import Broker, Capabilities
from edgy_bus.brokers.memory.action_log import MemoryActionLog
from edgy_bus.brokers.memory.administration import MemoryAdministration
from edgy_bus.brokers.memory.consuming import MemoryConsuming
from edgy_bus.brokers.memory.dead_letters import MemoryDeadLetters
from edgy_bus.brokers.memory.leasing import MemoryLeasing
from edgy_bus.brokers.memory.publishing import MemoryPublishing
from edgy_bus.brokers.memory.relays import MemoryRelays
from edgy_bus.brokers.memory.rostering import MemoryRostering
from edgy_bus.brokers.memory.setting_aside import MemorySettingAside
from edgy_bus.brokers.memory.side_streams import MemorySideStreams
from edgy_bus.brokers.memory.surveying import MemorySurveying
from edgy_bus.brokers.memory.tallying import MemoryTallying


class MemoryBroker(
    MemoryPublishing,
    MemoryLeasing,
    MemoryConsuming,
    MemorySideStreams,
    MemoryDeadLetters,
    MemorySurveying,
    MemoryAdministration,
    MemoryRostering,
    MemorySettingAside,
    MemoryActionLog,
    MemoryRelays,
    MemoryTallying,
    Broker,
):
    """Keep everything in dictionaries of this process. Events are bytes, as in every broker."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        durable=False, shared_between_processes=False, serves_many_loops=False, bounded=False
    )

    async def connect(self) -> None:
        return None

    async def close(self) -> None:
        return None
