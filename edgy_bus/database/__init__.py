"""Connect to a database; run statements and transactions.

Only this package imports `databases` and the database drivers.
"""

from edgy_bus.database.backends.base import Result
from edgy_bus.database.compiling import Row
from edgy_bus.database.connection import Callback, Connection, Transaction, left_open
from edgy_bus.database.database import Database
from edgy_bus.database.types import (
    Conversion,
    Converted,
    Duration,
    ExactDecimal,
    PlainUuid,
    UTCDateTime,
    as_utc,
    big_key,
    float_type,
    json_type,
    stored_type,
)

__all__ = [
    "Callback",
    "Connection",
    "Conversion",
    "Converted",
    "Database",
    "Duration",
    "ExactDecimal",
    "PlainUuid",
    "Result",
    "Row",
    "Transaction",
    "UTCDateTime",
    "as_utc",
    "big_key",
    "float_type",
    "json_type",
    "left_open",
    "stored_type",
]
