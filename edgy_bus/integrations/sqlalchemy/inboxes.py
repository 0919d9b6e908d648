"""Run receivers in the transaction of a session: the inbox of receivers that use SQLAlchemy."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Dialect, Executable, event
from sqlalchemy.orm import Session

from edgy_bus.database import Database
from edgy_bus.database.versions import prepare
from edgy_bus.errors import ConfigurationError, OperationError
from edgy_bus.runtime.inbox import TABLES
from edgy_bus.sources import Value, Values

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class Rows(NamedTuple):
    """The result of a statement."""

    rows: Sequence[Values]


class SessionInbox:
    """An inbox whose transaction is that of a session, which the receiver writes with.

        @post_save(User, inbox=source.inbox)
        async def count(sender, instance, **kwargs):
            source.inbox.session.add(Count(user=instance.id))

    Args:
        sessions: makes asynchronous sessions.
        database: the database of the sessions.
    """

    def __init__(self, sessions: Callable[[], "AsyncSession"], database: Database) -> None:
        self._sessions = sessions
        self._database = database
        # Receivers run side by side, each in a context of its own.
        self._current: ContextVar[AsyncSession] = ContextVar("edgy_bus_inbox_session")

    @property
    def dialect(self) -> Dialect:
        """Return the dialect of the database."""
        return self._database.dialect

    @property
    def session(self) -> "AsyncSession":
        """Return the session of the receiver that runs; its transaction ends with the call.

        Raises:
            ConfigurationError: outside of a receiver that has this inbox.
        """
        session = self._current.get(None)
        if session is None:
            raise ConfigurationError(
                "no receiver with this inbox runs here: connect the receiver with "
                "inbox=source.inbox"
            )
        return session

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """Open a session and its transaction."""
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        async with self._sessions() as session, session.begin():
            token = self._current.set(session)
            # A receiver that commits and then fails would not be called again: the note that it has
            # handled the event would be committed as well.
            event.listen(session.sync_session, "before_commit", _refuse_commit)
            try:
                yield
            finally:
                event.remove(session.sync_session, "before_commit", _refuse_commit)
                self._current.reset(token)

    async def run(
        self, statement: Executable, parameters: Mapping[str, Value] | None = None
    ) -> Rows:
        """Run a statement in the open transaction."""
        result = await self.session.execute(statement, parameters)
        return Rows([dict(row) for row in result.mappings()])

    async def prepare(self) -> None:
        """Create the table of the inbox if it is missing."""
        # Workers do so for inboxes of this library's own databases.
        await prepare(self._database, TABLES)


def _refuse_commit(session: Session) -> None:
    if not session.in_nested_transaction():
        raise OperationError(
            "the session of an inbox commits when its receiver has returned: write "
            "session.flush() in place of session.commit(), or begin_nested() for a savepoint"
        )
