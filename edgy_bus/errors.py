"""Every error that edgy_bus raises, in one tree.

A name says what the reader has to do: a `ConfigurationError` is mended in code or settings, a `BrokerUnavailable`
mends itself when the broker comes back, an `OperationError` belongs to one call.
"""


class EdgyBusError(Exception):
    """The root of the tree: `except EdgyBusError` catches whatever this package raises on purpose."""


class ConfigurationError(EdgyBusError):
    """Something is declared wrongly, and no retry will help. The message says what to change."""


class SignalError(ConfigurationError):
    """A receiver or a signal breaks a rule of its contract; raised when it is connected, not when it runs."""


class UnknownSignal(SignalError, AttributeError):
    """A model has no signal of this name; the message says which it has."""


class SkipOperation(EdgyBusError):
    """Raised by a `pre_*` receiver: the operation writes nothing, and its caller is not troubled.

    `post_*` receivers that run here are called with `operation_skipped=True`; the bus hears of nothing.
    """


class ModelError(ConfigurationError):
    """A model is declared wrongly."""


class DatabaseError(EdgyBusError):
    """The database cannot do what it was asked. Where its driver said so, the driver's error is the cause.

    The text never holds values of a row.
    """


class IntegrityError(DatabaseError):
    """A constraint refuses the row: unique, not null, a foreign key, a check.

    `table` and `column` name the place where the database reports them; PostgreSQL does.
    """

    def __init__(
        self, message: str, *, table: str | None = None, column: str | None = None
    ) -> None:
        super().__init__(message)
        self.table = table
        self.column = column


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, or has been locked for too long. Temporary."""


class OperationError(EdgyBusError):
    """A model operation cannot be carried out as it was called."""


class ObjectNotFound(OperationError):
    """`get()` found no row."""


DoesNotExist = ObjectNotFound
"""The name that Django's users know it by."""


class MultipleObjectsReturned(OperationError):
    """`get()` found more than one row."""


class EventError(EdgyBusError):
    """An event cannot be encoded, or an entry of a stream is not an event of ours."""


class BrokerError(EdgyBusError):
    """The broker answered in a way that cannot be worked with."""


class BrokerUnavailable(BrokerError):
    """The broker cannot be reached, refuses writes or answers too late. Temporary: whoever meets it waits and tries again."""


class LeaseLost(BrokerError):
    """Another process owns the partition now; what was in hand is its business."""


class ServerNotFound(EdgyBusError):
    """No server of a kind could be found or started; the message lists where it was looked for."""
