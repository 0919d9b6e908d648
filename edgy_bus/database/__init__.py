"""Connect to a database; run statements and transactions.

Only this package imports `databases` and the database drivers.
"""

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
