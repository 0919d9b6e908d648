"""Hear the statements of sessions: sets are published, what no event would report is refused."""

from collections.abc import Sequence
from dataclasses import replace
from weakref import ReferenceType, WeakKeyDictionary, WeakSet, ref

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import ORMExecuteState, Session

from edgy_bus.integrations.row_changes import DELETE, UPDATE
from edgy_bus.integrations.sqlalchemy import gate, sets
from edgy_bus.integrations.sqlalchemy.announcing import Intent
from edgy_bus.integrations.sqlalchemy.mapping import MappedModel
from edgy_bus.integrations.sqlalchemy.recording import Recorder
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
        if tables and not self._is_known(session, context.execution_options):
            raise gate.refuse(min(tables))

    def _is_known(self, session: Session, options: Value) -> bool:
        work = self._recorder.work_of(session)
        # The statements of a flush have a cache of their own; those of handlers in a flush do not.
        is_of_flush = work.flush is not None and "compiled_cache" in options
        return is_of_flush or work.changes_set or bool(options.get(gate.UNPUBLISHED))

    def do_orm_execute(self, state: ORMExecuteState) -> Value:
        """Publish the rows of an UPDATE or a DELETE of a mapped class."""
        mapper = state.bind_mapper
        model = None if mapper is None else self._recorder.source.model_of(mapper)
        if model is None or not sets.is_publishable(state):
            # The gate refuses what changes published rows.
            return None
        action = UPDATE if state.is_update else DELETE
        # A statement about a class changes rows of derived classes, too.
        models = self._hierarchy(model)
        self._ask(Intent(model, action, state.statement, None), models)
        if not any(self._recorder.wants(each, action) for each in models):
            return self._invoke(state, state.statement)
        change = sets.SetChange(state, model, action, self._recorder.source.model_of)
        # Undone if an event cannot be written, for example because it is too large.
        with state.session.begin_nested():
            change.lock()
            result = self._invoke(state, change.statement())
            self._recorder.write(state.session, change.changed())
        self._recorder.call_now(state.session)
        return result

    def _invoke(self, state: ORMExecuteState, statement: Value) -> Value:
        work = self._recorder.work_of(state.session)
        work.changes_set = True
        try:
            result: Value = state.invoke_statement(statement=statement)
            # Rows that the caller has not fetched yet would be in the way of other statements.
            return result.freeze()() if len(statement.exported_columns) else result
        finally:
            work.changes_set = False

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


def _no_session() -> None: ...
