"""Publish the statements of a database: the gate through which all of them pass."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Protocol
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, Delete, Engine, Insert, Table, Update, event
from sqlalchemy.ext.asyncio import AsyncConnection

from edgy_bus.errors import OperationError
from edgy_bus.integrations.edgy import gate
from edgy_bus.integrations.edgy.cascades import following
from edgy_bus.integrations.edgy.changing import Execution, action_of
from edgy_bus.integrations.edgy.describing import EdgyModel
from edgy_bus.integrations.edgy.journals import Journal, Page
from edgy_bus.integrations.edgy.reporting import Notifying, Reporter
from edgy_bus.integrations.edgy.statements import Change, Parameters
from edgy_bus.integrations.row_changes import DELETE, UPDATE
from edgy_bus.integrations.sqlalchemy.announcing import is_silent, wants
from edgy_bus.integrations.sqlalchemy.calling import Call
from edgy_bus.integrations.sqlalchemy.gate import UNPUBLISHED
from edgy_bus.outbox.statements import POSTGRESQL
from edgy_bus.sources import Value

AUTOCOMMIT = "AUTOCOMMIT"
"""The isolation level of databasez outside of transactions."""

Execute = Callable[[Value, Value, Value], Value]
"""The method of a connection of databasez that executes a statement."""

required: ContextVar[Value] = ContextVar("edgy_bus_edgy_connection", default=None)
"""The connection, in databasez, of a receiver with an inbox: its changes have to use it."""


class Publishing(Notifying, Protocol):
    """The part of a source that its publisher uses."""

    tables: frozenset[str]
    """The names of the published tables, in lower case."""

    @property
    def models(self) -> Mapping[str, EdgyModel]:
        """Return the models by the keys of their tables."""


class Publisher:
    """Executes the statements of the connections of a database.

    Connections and transactions are those of databasez's backend.

    Args:
        source: the source.
    """

    def __init__(self, source: Publishing) -> None:
        self._source = source
        self._journals: WeakKeyDictionary[Value, Journal] = WeakKeyDictionary()
        self._engines: WeakSet[Engine] = WeakSet()

    def journal(self, connection: Value) -> Journal:
        """Return what the open transactions of a connection have done."""
        return self._journals.setdefault(connection, Journal())

    def watch(self, connection: Value) -> None:
        """Look at all statements of a connection that was just acquired, and of its engine."""
        # Transactions that were not ended went with the connection that they were open on.
        self._journals.pop(connection, None)
        engine: Engine = connection.async_connection.sync_engine
        if engine not in self._engines:
            self._engines.add(engine)
            event.listen(engine, "before_cursor_execute", self._check)

    def stop(self) -> None:
        """Look at no statements any more."""
        for engine in self._engines:
            event.remove(engine, "before_cursor_execute", self._check)
        self._engines.clear()

    def _check(
        self, _: Connection, __: object, statement: str, ___: object, context: Value, ____: bool
    ) -> None:
        gate.check(statement, context.execution_options, self._source.tables)

    async def execute(
        self, connection: Value, statement: Value, parameters: Value, execute: Execute
    ) -> Value:
        """Execute a statement, with its events if it changes rows of a published table.

        Args:
            connection: the connection.
            statement: the statement.
            parameters: its parameters.
            execute: executes other statements.
        """
        model = self._model_of(statement)
        if model is None:
            return await execute(connection, statement, parameters)
        self._check_connection(connection, model)
        if not self._is_wanted(model, statement):
            return await execute(connection, gate.published(statement), parameters)
        return await self._publish(connection, model, statement, parameters)

    def _model_of(self, statement: Value) -> EdgyModel | None:
        """Return the model whose rows a statement changes."""
        if not isinstance(statement, Insert | Update | Delete):
            return None
        # An alias has no place in INSERT; a join belongs to other databases.
        if not isinstance(statement.table, Table):
            return None
        if statement.get_execution_options().get(UNPUBLISHED):
            return None
        return self._source.models.get(statement.table.key)

    def _check_connection(self, connection: Value, model: EdgyModel) -> None:
        needed = required.get()
        if needed is not None and needed is not connection.owner:
            raise OperationError(
                f"a receiver with an inbox changes rows of {model.name} in another task than its "
                "own, so the change would not be in the receiver's transaction: await the "
                "operation in the receiver itself"
            )

    def _is_wanted(self, model: EdgyModel, statement: Change) -> bool:
        if not isinstance(statement, Delete):
            return self._is_noticed(model, action_of(statement))
        return any(
            self._is_noticed(each, action)
            for each in following(self._source.models, model)
            for action in (UPDATE, DELETE)
        )

    def _is_noticed(self, model: EdgyModel, action: str) -> bool:
        """Return whether a receiver or the bus learns of a change, before or after it."""
        writer = self._source.writer
        return wants(writer, model, action) or not is_silent(writer, model, action)

    async def _publish(
        self, connection: Value, model: EdgyModel, statement: Change, parameters: Parameters
    ) -> Value:
        async def call(receiver: Call) -> None:
            async with lent(connection.owner):
                await receiver

        session = connection.async_connection
        reporter = Reporter(self._source, session, self.journal(connection), call)
        execution = Execution(session, model, reporter, self._source.models)
        async with self._transaction(connection):
            return await execution.run(statement, parameters)

    @asynccontextmanager
    async def _transaction(self, connection: Value) -> AsyncIterator[None]:
        """Open a transaction, or a savepoint in the open transaction.

        Without an open transaction, databasez commits each statement by itself.
        """
        options = {}
        is_root = not self.journal(connection).is_open
        if is_root:
            _refuse_unknown(connection.async_connection)
            if connection.async_connection.dialect.name == POSTGRESQL:
                # The level of a single statement; databasez would take SERIALIZABLE.
                options["isolation_level"] = "READ COMMITTED"
        transaction = connection.transaction()
        transaction.edgy_bus_is_of_statement = True
        await transaction.start(is_root=is_root, **options)
        try:
            yield
        except BaseException:
            await transaction.rollback()
            raise
        await transaction.commit()

    async def committed(self, transaction: Value, page: Page | None) -> None:
        """Wake the relay, and call the receivers that waited for the commit."""
        if page is None:
            return
        writer: Value = self._source.writer
        if page.has_written:
            self._source.notify(writer.ring)
        # On the connection of the transaction, which is held until they end: if each needed another
        # connection of the pool, operations side by side would wait for each other.
        for later in page.later:
            if transaction.edgy_bus_is_of_statement:
                async with lent(transaction.connection.owner):
                    await later()
            else:
                await later()


def commits_statements(connection: AsyncConnection) -> bool:
    """Return whether each statement on a connection commits itself."""
    plain = connection.sync_connection
    options = {} if plain is None else plain.get_execution_options()
    return bool(options.get("isolation_level", AUTOCOMMIT) == AUTOCOMMIT)


def _refuse_unknown(connection: AsyncConnection) -> None:
    """Refuse a transaction that databasez has not begun, whose end would not be noticed."""
    if connection.in_transaction() and not commits_statements(connection):
        raise OperationError(
            "a transaction that was begun on SQLAlchemy's own connection is open here, and nothing "
            "would say when it ends: use database.transaction()"
        )


@asynccontextmanager
async def lent(connection: Value) -> AsyncIterator[None]:
    """Let a receiver use a connection of databasez, whose statement waits for the receiver."""
    lock: asyncio.Lock = connection._query_lock
    lock.release()
    try:
        yield
    finally:
        await _taken_back(lock)


async def _taken_back(lock: asyncio.Lock) -> None:
    """Acquire a lock, also if the task is cancelled: databasez releases the lock in any case."""
    cancelled: asyncio.CancelledError | None = None
    while True:
        try:
            await lock.acquire()
            break
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
