"""Run receivers in a transaction of an Edgy database: the inbox of receivers that use Edgy."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

from sqlalchemy import Dialect, Executable

from edgy_bus.database import Database
from edgy_bus.database.versions import prepare
from edgy_bus.errors import ConfigurationError
from edgy_bus.integrations.edgy.publishing import required
from edgy_bus.outbox.statements import POSTGRESQL
from edgy_bus.runtime.inbox import TABLES
from edgy_bus.sources import Value, Values


class Rows(NamedTuple):
    """The result of a statement."""

    rows: Sequence[Values]


class EdgyInbox:
    """An inbox whose transaction is that of the models which the receiver writes with.

        @post_save(User, inbox=source.inbox)
        async def count(sender, instance, **kwargs):
            await Count.query.create(user=instance.id)

    Args:
        connected: the database of the registry.
        database: the same database, for the table of the inbox.
    """

    def __init__(self, connected: Value, database: Database) -> None:
        self._connected = connected
        self._database = database
        self._is_prepared = False

    @property
    def dialect(self) -> Dialect:
        """Return the dialect of the database."""
        return self._database.dialect

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """Open a transaction of the current task, which Edgy's operations in the task join."""
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        # A receiver may be connected after the start of the bus.
        if not self._is_prepared:
            await self.prepare()
        options = {}
        if self.dialect.name == POSTGRESQL:
            # Rows are compared under their locks; databasez would take SERIALIZABLE.
            options["isolation_level"] = "READ COMMITTED"
        async with self._connected as database:
            connection = database.connection()
            async with connection, connection.transaction(**options):
                # Edgy starts tasks in some operations, and their connections are others.
                token = required.set(connection)
                try:
                    yield
                finally:
                    required.reset(token)

    async def run(
        self, statement: Executable, parameters: Mapping[str, Value] | None = None
    ) -> Rows:
        """Run a statement in the open transaction."""
        connection = required.get()
        if connection is None:
            raise ConfigurationError("the inbox has no open transaction here")
        result = await connection.async_connection.execute(statement, parameters)
        return Rows([dict(row) for row in result.mappings()])

    async def prepare(self) -> None:
        """Create the table of the inbox if it is missing."""
        # Workers do so for inboxes of this library's own databases.
        await prepare(self._database, TABLES)
        self._is_prepared = True
