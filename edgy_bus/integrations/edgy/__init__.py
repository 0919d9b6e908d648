"""Publish the changes that Edgy's models make: `publish(registry, bus)`."""

from edgy_bus.integrations.edgy.source import EdgySource, publish

__all__ = ["EdgySource", "publish"]
