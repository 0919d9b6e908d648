"""Publish the changes that SQLAlchemy's sessions make: `publish(Session, Base, bus)`."""

from edgy_bus.integrations.sqlalchemy.source import SessionSource, publish

__all__ = ["SessionSource", "publish"]
