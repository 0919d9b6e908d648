"""The database: connections, transactions and statements. The only place that knows `databases` and its drivers."""

from edgy_bus.database.backends.base import Result
from edgy_bus.database.compiling import Row
from edgy_bus.database.connection import Callback, Connection, Transaction
from edgy_bus.database.database import Database
from edgy_bus.database.types import ExactDecimal, UTCDateTime, as_utc, big_key, json_type

__all__ = [
    "Callback",
    "Connection",
    "Database",
    "ExactDecimal",
    "Result",
    "Row",
    "Transaction",
    "UTCDateTime",
    "as_utc",
    "big_key",
    "json_type",
]
