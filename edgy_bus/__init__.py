"""Database models whose signals cross process and service boundaries, reliably and in order.

import edgy_bus as edgy

database = edgy.Database("sqlite:///db.sqlite")
bus = edgy.Bus("redis://localhost:6379", service="accounts")
registry = edgy.Registry(database=database, bus=bus)
"""

from edgy_bus.bus import Bus
from edgy_bus.database import Database
from edgy_bus.errors import (
    BrokerError,
    BrokerUnavailable,
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    DoesNotExist,
    EdgyBusError,
    EventError,
    IntegrityError,
    ModelError,
    MultipleObjectsReturned,
    ObjectNotFound,
    OperationError,
    SignalError,
    SkipOperation,
)
from edgy_bus.events import Event
from edgy_bus.models import (
    CASCADE,
    RESTRICT,
    SET_NULL,
    BigIntegerField,
    BinaryField,
    BooleanField,
    CharField,
    ChoiceField,
    DateField,
    DateTimeField,
    DecimalField,
    EmailField,
    FloatField,
    ForeignKey,
    IntegerField,
    JSONField,
    Model,
    QuerySet,
    Registry,
    TextField,
    TimeField,
    UUIDField,
)
from edgy_bus.retry import Retry, dead_letter, retry, snooze
from edgy_bus.settings import EventSettings, RelaySettings, WorkerSettings
from edgy_bus.signals import (
    Batch,
    Options,
    Signal,
    post_delete,
    post_save,
    post_update,
    pre_delete,
    pre_save,
    pre_update,
)

__version__ = "0.1.0"

__all__ = [
    "CASCADE",
    "RESTRICT",
    "SET_NULL",
    "Batch",
    "BigIntegerField",
    "BinaryField",
    "BooleanField",
    "BrokerError",
    "BrokerUnavailable",
    "Bus",
    "CharField",
    "ChoiceField",
    "ConfigurationError",
    "Database",
    "DatabaseError",
    "DatabaseUnavailable",
    "DateField",
    "DateTimeField",
    "DecimalField",
    "DoesNotExist",
    "EdgyBusError",
    "EmailField",
    "Event",
    "EventError",
    "EventSettings",
    "FloatField",
    "ForeignKey",
    "IntegerField",
    "IntegrityError",
    "JSONField",
    "Model",
    "ModelError",
    "MultipleObjectsReturned",
    "ObjectNotFound",
    "OperationError",
    "Options",
    "QuerySet",
    "Registry",
    "RelaySettings",
    "Retry",
    "Signal",
    "SignalError",
    "SkipOperation",
    "TextField",
    "TimeField",
    "UUIDField",
    "WorkerSettings",
    "dead_letter",
    "post_delete",
    "post_save",
    "post_update",
    "pre_delete",
    "pre_save",
    "pre_update",
    "retry",
    "snooze",
]
