"""The broker on Redis Streams."""

from edgy_bus.brokers.redis.broker import RedisBroker

__all__ = ["RedisBroker"]
