"""Follow the flushes of sessions: the changes of rows through their objects."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection
from sqlalchemy.orm import Session, UOWTransaction, object_session

from edgy_bus.errors import OperationError
from edgy_bus.integrations.row_changes import DELETE, SAVE, UPDATE
from edgy_bus.integrations.sqlalchemy import flushing
from edgy_bus.integrations.sqlalchemy.announcing import Intent, intent_of
from edgy_bus.integrations.sqlalchemy.flushing import Before, Flush, Step
from edgy_bus.integrations.sqlalchemy.mapping import ClassMapper, MappedModel
from edgy_bus.integrations.sqlalchemy.recording import Recorder
from edgy_bus.integrations.sqlalchemy.references import Reached
from edgy_bus.sources import Value

Waiting = tuple[MappedModel, str, Value]
"""An object that a flush will write, with its model and the action."""


class ObjectEvents:
    """The handlers of flushes, and of the objects in a flush.

    A flush finds most changes before its SQL. Those it finds only on its way, such as an orphan or
    a foreign key that follows its object, are asked about and locked one by one.
    """

    session_events = ("before_flush", "after_flush", "after_flush_postexec")
    mapper_events = (
        *("before_insert", "before_update", "before_delete"),
        *("after_insert", "after_update", "after_delete"),
    )

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def before_flush(
        self, session: Session, _: UOWTransaction, instances: Sequence[object] | None
    ) -> None:
        """Run the `pre_*` receivers, then lock the rows that will be changed."""
        if instances is not None:
            raise OperationError(
                "flush(objects) cannot publish a part of a session's changes: flush() them all"
            )
        work, flush = self._recorder.work_of(session), Flush()
        work.flush = flush
        try:
            waiting, intents = self._ask_all(session, flush)
            self._lock(session, flush, waiting)
        except BaseException:
            work.flush = None
            flush.undo()
            raise
        # After the receivers: an operation that is refused is not announced.
        for intent in intents:
            self._recorder.announce(intent)

    def _ask_all(self, session: Session, flush: Flush) -> tuple[list[Waiting], list[Intent]]:
        """Run the receivers of all objects, and of those that receivers add.

        Returns the objects that the flush will write, and what is to be announced.
        """
        intents: list[Intent] = []
        # A receiver may add an object, whose receivers come before the SQL as well.
        while True:
            waiting = list(self._waiting(session))
            unasked = [each for each in waiting if id(each[2]) not in flush.asked]
            for model, action, target in unasked:
                intents += self._ask(flush, model, action, target)
            if not unasked or not flush.kept:
                return waiting, intents

    def _waiting(self, session: Session) -> Iterable[Waiting]:
        """Yield the objects that the flush will write, as far as they are known before."""
        for action, targets in (
            (SAVE, session.new),
            (UPDATE, session.dirty),
            (DELETE, session.deleted),
        ):
            for target in targets:
                model = self._recorder.source.model_of(flushing.mapper_of(target))
                if model is None or (action == UPDATE and not flushing.is_due(model, target)):
                    continue
                yield model, action, target

    def _ask(self, flush: Flush, model: MappedModel, action: str, target: Value) -> list[Intent]:
        """Run the receivers of an object; return what is to be announced."""
        flush.asked[id(target)] = target
        if self._is_silent(flush, model, action):
            return []
        intent = intent_of(model, action, target)
        receivers = intent.receivers()
        if receivers:
            flush.kept.append(Before(model, target))
            self._recorder.ask(intent, receivers)
            # Receivers may have changed the object.
            intent = intent_of(model, action, target)
        return [intent]

    def _is_silent(self, flush: Flush, model: MappedModel, action: str) -> bool:
        key = model, action
        if key not in flush.silent:
            flush.silent[key] = self._recorder.is_silent(model, action)
        return flush.silent[key]

    def _wants(self, flush: Flush, model: MappedModel, action: str) -> bool:
        key = model, action
        if key not in flush.wanted:
            flush.wanted[key] = self._recorder.wants(model, action)
        return flush.wanted[key]

    def _lock(self, session: Session, flush: Flush, waiting: Iterable[Waiting]) -> None:
        """Lock the rows of known changes, model by model, in the order of their keys."""
        due: dict[MappedModel, list[Value]] = {}
        deleted: dict[MappedModel, list[Value]] = {}
        exclusive: set[MappedModel] = set()
        for model, action, target in waiting:
            # A row whose object is deleted may be updated, for another object in its place.
            results = (UPDATE,) if action == UPDATE else (UPDATE, DELETE)
            if action == SAVE or not any(self._wants(flush, model, each) for each in results):
                continue
            due.setdefault(model, []).append(target)
            if action == DELETE:
                deleted.setdefault(model, []).append(target)
            if action == DELETE or flushing.assigns_unique(model, target):
                exclusive.add(model)
        # In one order for all transactions, so that they wait for each other and never deadlock.
        for model in sorted(due, key=lambda model: model.name):
            keys = [flushing.identity(target) for target in due[model]]
            connection = flushing.connection_of(session, model)
            flush.lock(connection, model, keys, exclusive=model in exclusive)
        for model, targets in deleted.items():
            self._lock_referring(session, flush, model, targets)

    def _lock_referring(
        self, session: Session, flush: Flush, model: MappedModel, targets: Sequence[Value]
    ) -> None:
        """Lock the rows that the database may delete or change with the rows of deleted objects."""
        if self._recorder.source.references_to(model):
            flush.reached = flush.reached or Reached(session, self._recorder.source)
            flush.reached.lock(model, [flushing.identity(target) for target in targets])

    # Inside of a flush

    def before_insert(self, mapper: ClassMapper, _: Connection, target: object) -> None:
        """Run the receivers of an object that the flush itself has found."""
        flush, model = self._place_of(mapper, target)
        if flush is not None and model is not None:
            flushing.check_replaced(mapper, target)
            self._ask_late(flush, model, SAVE, target)

    def before_update(self, mapper: ClassMapper, connection: Connection, target: object) -> None:
        """Note an UPDATE; lock the row if only the flush itself has found the change."""
        flush, model = self._place_of(mapper, target)
        if flush is None or model is None:
            return
        names = flushing.assigned(model, target)
        if names and id(target) not in flush.asked:
            self._ask_late(flush, model, UPDATE, target)
            # Read again: a receiver may have changed the object.
            names = flushing.assigned(model, target)
        if not names:
            return
        flushing.check_fixed(model, names)
        if self._wants(flush, model, UPDATE):
            exclusive = not model.unique.isdisjoint(names)
            flush.lock(connection, model, [flushing.identity(target)], exclusive=exclusive)
            flush.updating[id(target)] = names

    def before_delete(self, mapper: ClassMapper, connection: Connection, target: object) -> None:
        """Lock the row if only the flush itself has found the deletion."""
        flush, model = self._place_of(mapper, target)
        if flush is None or model is None:
            return
        self._ask_late(flush, model, DELETE, target)
        if self._wants(flush, model, DELETE):
            key = flushing.identity(target)
            is_late = key not in flush.locked.get(model, ())
            flush.lock(connection, model, [key], exclusive=True)
            session = object_session(target)
            if is_late and session is not None:
                self._lock_referring(session, flush, model, [target])

    def _ask_late(self, flush: Flush, model: MappedModel, action: str, target: object) -> None:
        if id(target) not in flush.asked:
            for intent in self._ask(flush, model, action, target):
                self._recorder.announce(intent)

    def after_insert(self, mapper: ClassMapper, _: Connection, target: object) -> None:
        """Note an INSERT."""
        self._note(mapper, SAVE, target)

    def after_update(self, mapper: ClassMapper, _: Connection, target: object) -> None:
        """Note an UPDATE, unless the object had nothing to write."""
        flush, model = self._place_of(mapper, target)
        if flush is None or model is None:
            return
        names: Sequence[str] | None = flush.updating.pop(id(target), None)
        # A new object in the place of a deleted one: SQLAlchemy updates the row then.
        if names is None and not flushing.identity(target):
            names = flushing.replaced(model, target)
        if names is not None:
            self._note(mapper, UPDATE, target, names)

    def after_delete(self, mapper: ClassMapper, _: Connection, target: object) -> None:
        """Note a DELETE."""
        self._note(mapper, DELETE, target)

    def _note(
        self, mapper: ClassMapper, action: str, target: object, names: Sequence[str] = ()
    ) -> None:
        flush, model = self._place_of(mapper, target)
        if flush is not None and model is not None and self._wants(flush, model, action):
            flush.steps.append(Step(model, action, target, names))

    def _place_of(
        self, mapper: ClassMapper, target: object
    ) -> tuple[Flush | None, MappedModel | None]:
        """Return the flush and the model of an object; None for a session of another factory."""
        work = self._recorder.begun(object_session(target))
        flush = None if work is None else work.flush
        if work is not None and flush is not None and flush.depth is None:
            # Bulk methods call no handlers of objects: this is the transaction of the flush.
            flush.depth = work.depth
        return flush, self._recorder.source.model_of(mapper)

    # At the end of a flush

    def after_flush(self, session: Session, _: UOWTransaction) -> None:
        """Write the events of the changes."""
        flush = self._recorder.work_of(session).flush
        if flush is None:
            return
        if flush.steps:
            changes = list(flushing.changes_of(session, flush))
            if flush.reached is not None:
                changes += flush.reached.changed(flush.reported())
            self._recorder.write(session, changes)
        flush.is_written = True

    def after_flush_postexec(self, session: Session, _: UOWTransaction) -> None:
        """Call the receivers that run here."""
        self._recorder.work_of(session).flush = None
        self._recorder.call_now(session)
