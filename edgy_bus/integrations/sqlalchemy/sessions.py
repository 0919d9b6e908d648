"""Follow the sessions of a factory: their transactions, their objects and their statements."""

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction

from edgy_bus.errors import ConfigurationError
from edgy_bus.integrations.sqlalchemy.calling import Caller
from edgy_bus.integrations.sqlalchemy.mapping import ClassMapper
from edgy_bus.integrations.sqlalchemy.objects import ObjectEvents
from edgy_bus.integrations.sqlalchemy.recording import Publishing, Recorder
from edgy_bus.integrations.sqlalchemy.statements import StatementEvents

NO_TWO_PHASES = (
    "sessions with twophase=True cannot publish: a prepared transaction may commit after its "
    "session has ended, and its events would be out of order"
)


class Sessions:
    """The sessions of a class, whose changes a source publishes.

    Args:
        source: the source.
        session_class: the class of the sessions; classes derived from it are meant as well.
        caller: runs receivers in the flow of these sessions.
    """

    session_events = (
        "after_transaction_create",
        "after_begin",
        "after_commit",
        "after_soft_rollback",
        "after_transaction_end",
    )

    def __init__(self, source: Publishing, session_class: type[Session], caller: Caller) -> None:
        self._source = source
        self._recorder = Recorder(source, caller)
        self._objects = ObjectEvents(self._recorder)
        self._statements = StatementEvents(self._recorder)
        for part in (self, self._objects, self._statements):
            for name in part.session_events:
                event.listen(session_class, name, getattr(part, name))

    def follow(self, mapper: ClassMapper) -> None:
        """Hear the changes of the objects of a mapped class."""
        for name in self._objects.mapper_events:
            event.listen(mapper, name, getattr(self._objects, name))

    def after_transaction_create(self, session: Session, _: SessionTransaction) -> None:
        """Count the transactions of a session; a flush and a bulk method have their own."""
        self._recorder.work_of(session).depth += 1

    def after_begin(self, session: Session, _: SessionTransaction, connection: Connection) -> None:
        """Watch the connection of a session.

        Raises:
            ConfigurationError: for a session whose changes cannot be published.
        """
        if session.twophase:
            raise ConfigurationError(NO_TWO_PHASES)
        if _is_autocommit(connection):
            raise ConfigurationError(
                'sessions whose connections commit every statement (isolation_level="AUTOCOMMIT") '
                "cannot publish: a row would be there before its event, or without"
            )
        # A factory may bind its sessions to another engine later.
        self._source.check_place(connection)
        self._recorder.work_of(session).connections.append(connection)
        self._statements.watch(session, connection)

    def after_commit(self, session: Session) -> None:
        """Go on after a commit."""
        # The release of a savepoint comes here as well.
        if session.get_nested_transaction() is None:
            self._recorder.committed(session)

    def after_soft_rollback(self, session: Session, transaction: SessionTransaction) -> None:
        """Forget what a transaction or a savepoint has done that was rolled back."""
        self._recorder.rolled_back(session, transaction)

    def after_transaction_end(self, session: Session, transaction: SessionTransaction) -> None:
        """Forget a transaction that has ended, and call the receivers that waited for its end."""
        if transaction.parent is not None:
            self._recorder.work_of(session).depth -= 1
            return
        work = self._recorder.end(session)
        if work is not None:
            self._statements.forget(work.connections)
            self._recorder.call_later(work)


def _is_autocommit(connection: Connection) -> bool:
    of_engine = connection.dialect._on_connect_isolation_level
    level = connection.get_execution_options().get("isolation_level", of_engine)
    return str(level).upper() == "AUTOCOMMIT"
