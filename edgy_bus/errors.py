"""Define the tree of all errors that edgy_bus raises.

The name of an error tells the reader how to react. A `ConfigurationError` needs a change of code or
settings. A `BrokerUnavailable` ends by itself when the broker is back. An `OperationError`
concerns a single call.
"""


class EdgyBusError(Exception):
    """Group every error of this package: `except EdgyBusError` catches all of them."""


class ConfigurationError(EdgyBusError):
    """Report a wrong declaration. No retry will help; the message names the remedy."""


class SignalError(ConfigurationError):
    """Report a receiver or a signal that breaks its contract, when the receiver is connected."""


class UnknownSignal(SignalError, AttributeError):
    """Report a signal name that the model does not have; the message lists the valid names."""

    # An AttributeError as well: `hasattr` and `getattr` with a default work on signals.


class SkipOperation(EdgyBusError):
    """Stop an operation from a `pre_*` receiver: nothing is written, and the caller gets no error.

    Local `post_*` receivers are called with `operation_skipped=True`; no event is published.
    """


class ModelError(ConfigurationError):
    """Report a wrong declaration of a model."""


class DatabaseError(EdgyBusError):
    """Report that the database cannot carry out an operation.

    The driver's error, if there is one, is the cause. The text never contains values of a row.
    """


class IntegrityError(DatabaseError):
    """Report a row that a constraint refuses: unique, not null, a foreign key or a check.

    Attributes:
        table: the table of the constraint; None on SQLite, which does not report the table.
        column: the column of the constraint, likewise.
        refused: the instance, or the set, whose operation was refused; None for other statements.
    """

    def __init__(
        self, message: str, *, table: str | None = None, column: str | None = None
    ) -> None:
        super().__init__(message)
        self.table = table
        self.column = column
        self.refused: object = None


class DatabaseUnavailable(DatabaseError):
    """Report that the database does not answer, or stayed locked for too long. Temporary."""


class TryAgain(DatabaseError):
    """Report a transaction that lost against another transaction; the same transaction may succeed.

    Raised for a serialization failure, a deadlock, and a lock that another transaction kept. The
    whole transaction was rolled back, or must be: repeat it, for example with
    `Database.attempts`.
    """


class DatabaseLocked(TryAgain, DatabaseUnavailable):
    """Report rows, a table or a file that another transaction kept locked for too long."""


class DefinitionLocked(DatabaseLocked):
    """Report that another session has been changing tables for too long; names the session."""


class OperationError(EdgyBusError):
    """Report a model operation that cannot run with its arguments."""


class UnknownAttribute(OperationError, AttributeError):
    """Report an attribute that a QuerySet, or the class of a model, does not have."""

    # An AttributeError as well: `hasattr` and `getattr` with a default work on both.


class ObjectNotFound(OperationError):
    """Report that `get()` matched no row."""


DoesNotExist = ObjectNotFound
"""The name that Django uses for `ObjectNotFound`."""


class MultipleObjectsReturned(OperationError):
    """Report that `get()` matched several rows."""


class EventError(EdgyBusError):
    """Report an event that cannot be encoded, or a stream entry that is not a valid event."""


class EventTooLarge(EventError):
    """Report an event over the limit of `EventSettings(max_bytes=…)`."""


class ContractError(EdgyBusError):
    """Report a row that does not fit the `schema` of a receiver; the text contains no values."""


class BrokerError(EdgyBusError):
    """Report an answer of the broker that the caller cannot use."""


class BrokerUnavailable(BrokerError):
    """Report a broker that is unreachable, refuses writes or answers too late. Temporary: retry."""


class BrokerNotReady(BrokerUnavailable):
    """Report a broker that refused a call before the call changed anything. Temporary: retry.

    The server is loading, full, busy or a replica, or no connection to it was opened. After every
    other `BrokerUnavailable`, nobody knows whether the call changed something.
    """


class UnsupportedBroker(BrokerError, ConfigurationError):
    """Report a broker of a kind that this release cannot work with."""


class LeaseLost(BrokerError):
    """Report that another process owns the partition now.

    The caller must drop its work in hand: the new owner repeats every call that is not settled.
    """


class ActionStopped(EdgyBusError):
    """Report an action of an operator that ended half-way. What is done stays; resume the rest."""


class DrainFailed(EdgyBusError, AssertionError):
    """Report to a test that receivers did not handle every event; the first error is the cause."""


class ServerNotFound(EdgyBusError):
    """Report that no server of a kind was found or started; the message lists the sources."""
