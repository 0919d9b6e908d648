"""Record what sessions change: write the events, and call the receivers that run here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.orm import Session, SessionTransaction

from edgy_bus.integrations.row_changes import DELETE, UPDATE, Changed
from edgy_bus.integrations.sqlalchemy import flushing
from edgy_bus.integrations.sqlalchemy.announcing import (
    Intent,
    ask,
    deliveries,
    is_silent,
    wants,
)
from edgy_bus.integrations.sqlalchemy.calling import Call, Caller
from edgy_bus.integrations.sqlalchemy.flushing import Flush
from edgy_bus.integrations.sqlalchemy.mapping import ClassMapper, MappedModel
from edgy_bus.integrations.sqlalchemy.references import Reference
from edgy_bus.integrations.sqlalchemy.writing import append
from edgy_bus.outbox.encoding import EventRow
from edgy_bus.signals import Receiver
from edgy_bus.sources import EventWriter, Value


class Publishing(Protocol):
    """The part of a source that its sessions use."""

    writer: EventWriter
    tables: frozenset[str]
    """The names of the published tables, in lower case."""

    def model_of(self, mapper: ClassMapper) -> MappedModel | None:
        """Return the description of a mapped class; None if the class is not published."""

    def references_to(self, model: MappedModel) -> Sequence[Reference]:
        """Return the foreign keys by which the database changes rows with those of a model."""

    def check_place(self, connection: Connection) -> None:
        """Refuse a connection to another database than that of the outbox."""


@dataclass(slots=True)
class Work:
    """What a session does at the moment.

    Attributes:
        flush: the flush that runs.
        depth: how many transactions are open, one inside the other.
        changes: the tables that the statement which runs may change.
        has_written: whether the open transaction has events.
        has_committed: whether the transaction has committed, and ends.
        connections: the connections of the transaction.
        now: calls that are due at the end of the flush, or of the statement.
        later: calls that wait for the commit, each with the transaction of its change.
    """

    flush: Flush | None = None
    depth: int = 0
    changes: frozenset[str] = frozenset()
    has_written: bool = False
    has_committed: bool = False
    connections: list[Connection] = field(default_factory=list)
    now: list[Callable[[], Call]] = field(default_factory=list)
    later: list[tuple[SessionTransaction | None, Callable[[], Call]]] = field(default_factory=list)


class Recorder:
    """Records the changes of the sessions of a factory.

    Args:
        source: the source.
        caller: runs receivers in the flow of these sessions.
    """

    def __init__(self, source: Publishing, caller: Caller) -> None:
        self.source = source
        self._caller = caller

    # The state of a session stands in the session, and ends with its transaction.

    def work_of(self, session: Session) -> Work:
        """Return what a session does at the moment."""
        work: Work = session.info.setdefault(self, Work())
        return work

    def begun(self, session: Session | None) -> Work | None:
        """Return what a session does at the moment; None if the session is not recorded."""
        return None if session is None else session.info.get(self)

    def end(self, session: Session) -> Work | None:
        """Forget what a session has done in a transaction that has ended, and return that."""
        work: Work | None = session.info.pop(self, None)
        return work

    # Before a change

    def ask(self, intent: Intent, receivers: Sequence[Receiver]) -> None:
        """Run `pre_*` receivers. What a receiver raises reaches the caller of the session."""
        ask(self._caller, intent, receivers)

    def announce(self, intent: Intent) -> None:
        """Publish the event of an intent, some time."""
        writer = self.source.writer
        if writer.records(intent.model, intent.signal):
            self._caller.notify(lambda: intent.announce(writer))

    def is_silent(self, model: MappedModel, action: str) -> bool:
        """Return whether nobody is asked or told before a change."""
        return is_silent(self.source.writer, model, action)

    def wants(self, model: MappedModel, action: str) -> bool:
        """Return whether a change has an event, or receivers here, or that of referring rows."""
        writer = self.source.writer
        return wants(writer, model, action) or (
            action == DELETE
            and any(
                wants(writer, each.model, DELETE if each.deletes else UPDATE)
                for each in self.source.references_to(model)
            )
        )

    # After a change

    def write(self, session: Session, changed: Sequence[Changed[MappedModel]]) -> None:
        """Write the events of changes in the transaction of the session."""
        writer: Value = self.source.writer
        work, events = self.work_of(session), list[EventRow]()
        transaction = session.get_nested_transaction() or session.get_transaction()
        for each in changed:
            signal = f"post_{each.action}"
            if writer.records(each.model, signal):
                events += writer.events(each.model, signal, each.changes)
            work.now += deliveries(writer, each, on_commit=False)
            later = deliveries(writer, each, on_commit=True)
            work.later += [(transaction, call) for call in later]
        # One statement for all classes of the flush.
        if events:
            work.has_written = True
            append(flushing.connection_of(session, changed[0].model), events)

    def call_now(self, session: Session) -> None:
        """Call the receivers of changes that do not wait for the commit."""
        work = self.work_of(session)
        # Taken out first: a receiver may use the session, and its calls are its own.
        calls, work.now = work.now, []
        for call in calls:
            self._caller.wait_for(call())

    def committed(self, session: Session) -> None:
        """Wake the relay."""
        work = self.work_of(session)
        work.has_committed = True
        writer: Value = self.source.writer
        if work.has_written:
            self._caller.notify(writer.ring)

    def call_later(self, work: Work) -> None:
        """Call the receivers that waited for the commit, if there was one.

        The first error is raised after all calls. The session has no open transaction by then, and
        goes on to be usable.
        """
        errors: list[Exception] = []
        for _, call in work.later if work.has_committed else ():
            try:
                self._caller.wait_for(call())
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append(error)
        if errors:
            raise errors[0]

    def rolled_back(self, session: Session, transaction: SessionTransaction) -> None:
        """Forget what a transaction or a savepoint has done."""
        work = self.work_of(session)
        if work.flush is not None:
            # The session has forgotten new objects, and refreshes all others.
            work.flush.undo(new_only=True)
        work.flush, work.changes, work.now = None, frozenset(), []
        work.later = [each for each in work.later if not _belongs(each[0], transaction)]


def _belongs(transaction: SessionTransaction | None, rolled_back: SessionTransaction) -> bool:
    """Return whether a transaction is one that was rolled back, or a savepoint inside of it."""
    while transaction is not None:
        if transaction is rolled_back:
            return True
        transaction = transaction.parent
    return False
