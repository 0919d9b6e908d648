"""Make the connections and transactions of databasez publish their statements."""

from edgy_bus.integrations.edgy.publishing import Publisher, commits_statements
from edgy_bus.outbox.statements import SQLITE
from edgy_bus.sources import Value

_BASE = "edgy_bus_base"
"""The attribute of a publishing class that holds the class without events."""


def install(backend: Value, publisher: Publisher) -> None:
    """Publish the statements of a database.

    Args:
        backend: the backend of the database in databasez. Copies of the database, for other event
            loops, have the same classes.
        publisher: executes the statements.
    """
    backend.connection_class = _connections(backend.connection_class, publisher)
    backend.transaction_class = _transactions(backend.transaction_class, publisher)


def uninstall(backend: Value) -> None:
    """Publish no statements of a database any more."""
    backend.connection_class = getattr(backend.connection_class, _BASE)
    backend.transaction_class = getattr(backend.transaction_class, _BASE)


def _connections(base: Value, publisher: Publisher) -> type:
    async def acquire(self: Value) -> Value:
        existing = await base.acquire(self)
        publisher.watch(self)
        return existing

    # Every statement of databasez comes here but streamed queries, which change nothing.
    async def execute_raw(self: Value, stmt: Value, value: Value = None) -> Value:
        return await publisher.execute(self, stmt, value, base.execute_raw)

    methods = {"acquire": acquire, "execute_raw": execute_raw, _BASE: base}
    return type("PublishingConnection", (base,), methods)


def _transactions(base: Value, publisher: Publisher) -> type:
    async def start(self: Value, is_root: bool, **options: Value) -> None:
        connection, journal = self.async_connection, publisher.journal(self.connection)
        if not journal.is_open and commits_statements(connection):
            # SQLAlchemy believes that a transaction is open, whose statements are committed. A
            # savepoint in it would fail.
            await connection.commit()
        self.edgy_bus_is_outermost = not connection.in_transaction()
        if self.edgy_bus_is_outermost and "isolation_level" in options:
            # databasez asks the server for the level, which knows nothing of statements that
            # commit themselves: with the level of the server, there would be no transaction.
            await connection.execution_options(isolation_level=options["isolation_level"])
        if self.edgy_bus_is_outermost or options:
            await base.start(self, is_root, **options)
        else:
            # databasez would ask the server twice for a level that a savepoint cannot change.
            self.raw_transaction = await connection.begin_nested()
        if self.edgy_bus_is_outermost and connection.dialect.name == SQLITE:
            # Python's driver begins at the first change only: a savepoint before it would be the
            # transaction, and its release a commit that nothing can roll back.
            await connection.exec_driver_sql("BEGIN")
        journal.begin(self)

    async def commit(self: Value) -> None:
        journal = publisher.journal(self.connection)
        try:
            await base.commit(self)
        except BaseException:
            journal.roll_back(self)
            raise
        finally:
            await _restore(self)
        await publisher.committed(self, journal.commit(self))

    async def rollback(self: Value) -> None:
        publisher.journal(self.connection).roll_back(self)
        try:
            await base.rollback(self)
        finally:
            await _restore(self)

    methods = {
        "start": start,
        "commit": commit,
        "rollback": rollback,
        # Whether the transaction was opened for a single statement.
        "edgy_bus_is_of_statement": False,
        _BASE: base,
    }
    return type("PublishingTransaction", (base,), methods)


async def _restore(transaction: Value) -> None:
    """Give a connection the isolation level of its database again, after a transaction."""
    # For the same reason as above: later statements would wait for a commit that never comes.
    connection, level = transaction.async_connection, transaction.root.options["isolation_level"]
    if transaction.edgy_bus_is_outermost and connection is not None:
        await connection.execution_options(isolation_level=level)
