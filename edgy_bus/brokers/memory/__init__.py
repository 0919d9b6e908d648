"""A broker in memory, for tests and for a bus without a server."""

from edgy_bus.brokers.memory.broker import MemoryBroker

__all__ = ["MemoryBroker"]
