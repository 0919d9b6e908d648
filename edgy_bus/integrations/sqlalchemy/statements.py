"""Hear the statements of sessions: sets are published, what no event would report is refused."""

from collections.abc import Sequence
from dataclasses import replace
from weakref import ReferenceType, WeakKeyDictionary, WeakSet, ref

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import ORMExecuteState, Session

from edgy_bus.integrations.row_changes import DELETE, SAVE, UPDATE
from edgy_bus.integrations.sqlalchemy import flushing, gate, rows
from edgy_bus.integrations.sqlalchemy.announcing import Intent
from edgy_bus.integrations.sqlalchemy.inserts import Insertion
from edgy_bus.integrations.sqlalchemy.mapping import MappedModel
from edgy_bus.integrations.sqlalchemy.recording import Recorder, Work
from edgy_bus.integrations.sqlalchemy.sets import Change, KeyedUpdates, SetChange
from edgy_bus.sources import Value


class StatementEvents:
    """The handlers of statements."""

    session_events = ("do_orm_execute",)

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._engines: WeakSet[Engine] = WeakSet()
        # Sessions refer to their connections, so that only one of both may be kept alive here.
        self._sessions: WeakKeyDictionary[Connection, ReferenceType[Session]] = WeakKeyDictionary()

    def watch(self, session: Session, connection: Connection) -> None:
        """Look at the statements of a session's connection from now on."""
        self._sessions[connection] = ref(session)
        engine = connection.engine
        if engine not in self._engines:
            self._engines.add(engine)
            event.listen(engine, "before_cursor_execute", self._check)

    def forget(self, connections: Sequence[Connection]) -> None:
        """Let the connections of a transaction that has ended execute any statement."""
        # A connection that a session was bound to belongs to the application, and stays open.
        for each in connections:
            self._sessions.pop(each, None)

    def _check(
        self,
        connection: Connection,
        _: object,
        statement: str,
        __: object,
        context: Value,
        ___: bool,
    ) -> None:
        session = self._sessions.get(connection, _no_session)()
        if session is None:
            return
        tables = gate.changed_tables(statement) & self._recorder.source.tables
        if not tables or context.execution_options.get(gate.UNPUBLISHED):
            return
        work = self._recorder.work_of(session)
        if not (_is_of_flush(work, context.execution_options) or tables <= work.changes):
            raise gate.refuse(min(tables))
        if gate.replaces_rows(statement):
            raise gate.refuse_replacing(min(tables))

    def do_orm_execute(self, state: ORMExecuteState) -> Value:
        """Publish the rows of an INSERT, an UPDATE or a DELETE of a mapped class."""
        mapper = state.bind_mapper
        model = None if mapper is None else self._recorder.source.model_of(mapper)
        if model is None or not _is_publishable(state):
            # The gate refuses what changes published rows.
            return None
        self._prepare_flush(state.session, model)
        action = SAVE if state.is_insert else UPDATE if state.is_update else DELETE
        # A statement about a class changes rows of derived classes, too.
        models = self._hierarchy(model)
        self._ask(Intent(model, action, state.statement, None), models)
        if not any(self._recorder.wants(each, action) for each in models):
            return self._invoke(state, models, state.statement)
        change = self._change(state, model, action)
        # First the lock: on SQLite it begins the transaction, which a savepoint would end.
        rows.lock_file(flushing.connection_of(state.session, model))
        # Undone if an event cannot be written, for example because it is too large.
        with state.session.begin_nested():
            change.lock()
            result = change.run(lambda statement: self._invoke(state, models, statement))
            self._recorder.write(state.session, change.changed())
        self._recorder.call_now(state.session)
        return result

    def _prepare_flush(self, session: Session, model: MappedModel) -> None:
        """Let a statement of a handler change rows of which a flush has read some."""
        flush = self._recorder.work_of(session).flush
        if flush is None:
            return
        if flush.executes:
            raise gate.refuse_inside_a_flush(model.name)
        # The flush reads its rows again, one by one, as the statement leaves them.
        flush.locked.clear()

    def _change(self, state: ORMExecuteState, model: MappedModel, action: str) -> Change:
        source = self._recorder.source
        if action == SAVE:
            return Insertion(state, model, source.model_of)
        if action == UPDATE and _has_list(state):
            return KeyedUpdates(state, model, source)
        return SetChange(state, model, action, source)

    def _invoke(
        self, state: ORMExecuteState, models: Sequence[MappedModel], statement: Value
    ) -> Value:
        work = self._recorder.work_of(state.session)
        before, work.changes = (
            work.changes,
            frozenset().union(*(each.table_names for each in models)),
        )
        try:
            return state.invoke_statement(statement=statement)
        finally:
            work.changes = before

    def _hierarchy(self, model: MappedModel) -> list[MappedModel]:
        """Return a model, and the models of the classes derived from its class."""
        source = self._recorder.source
        models = [source.model_of(each) for each in model.mapper.self_and_descendants]
        return [each for each in models if each is not None]

    def _ask(self, intent: Intent, models: Sequence[MappedModel]) -> None:
        """Run the `pre_*` receivers of all classes whose rows a statement may change, each once."""
        asked: set[object] = set()
        for model in models:
            of_model = replace(intent, model=model)
            receivers = [each for each in of_model.receivers() if each.key not in asked]
            asked.update(each.key for each in receivers)
            self._recorder.ask(of_model, receivers)
        self._recorder.announce(intent)


def _is_publishable(state: ORMExecuteState) -> bool:
    """Return whether the rows that a statement changes can be known."""
    options = state.execution_options
    # These strategies take the statement for one of Core.
    if options.get(gate.UNPUBLISHED) or options.get("dml_strategy") in ("raw", "core_only"):
        return False
    # A list of parameters is one UPDATE for each key; for a DELETE, SQLAlchemy has no such thing.
    return state.is_insert or state.is_update or (state.is_delete and not _has_list(state))


def _has_list(state: ORMExecuteState) -> bool:
    return isinstance(state.parameters, Sequence)


def _is_of_flush(work: Work, options: Value) -> bool:
    """Return whether a statement writes the rows of objects, whose changes are noted."""
    # The statements of a flush have a cache of their own; those of handlers in a flush do not, but
    # those of bulk methods do, which open a transaction of their own.
    flush = work.flush
    is_inside = flush is not None and flush.depth == work.depth
    return is_inside and options.get("compiled_cache") is not None


def _no_session() -> None: ...
