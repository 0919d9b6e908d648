"""Writes events, reads pending events, and marks the events that were appended to the streams."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from edgy_bus import telemetry
from edgy_bus.brokers.base import EntryId, StreamHead
from edgy_bus.codec import loads
from edgy_bus.database import Database
from edgy_bus.database.clock import DatabaseClock
from edgy_bus.database.versions import prepare
from edgy_bus.events import Partition, service_of
from edgy_bus.outbox import ledger, statements
from edgy_bus.outbox.statements import Parameters
from edgy_bus.outbox.store import identity, steps
from edgy_bus.outbox.store.originals import OriginalStore
from edgy_bus.outbox.store.progress import ProgressStore
from edgy_bus.outbox.store.repairs import RepairStore
from edgy_bus.outbox.store.searching import SearchStore
from edgy_bus.outbox.store.sequence import check_sequence
from edgy_bus.outbox.store.tidying import TidyStore
from edgy_bus.outbox.store.values import (
    Chunk,
    Incarnations,
    PageSize,
    Pending,
    PendingRow,
    Standing,
)
from edgy_bus.outbox.table import TABLES, groups, outbox, pending, streams
from edgy_bus.telemetry import catalogue

_INSERT = insert(outbox)
_EMPTY: Mapping[str, Any] = dict.fromkeys(statements.WRITTEN)
# Only pending rows: another relay may have published a row since the page was read.
_REPARTITION = (
    update(outbox)
    .where(outbox.c.id == bindparam("number"), outbox.c.id.in_(select(pending.c.id)))
    .values(label=bindparam("new"))
)
_OLDEST_PENDING = select((DatabaseClock() - outbox.c.created).label("age")).where(
    outbox.c.id == select(func.min(pending.c.id)).scalar_subquery()
)

_Key = tuple[str, str]
"""Model and name of a partition, the columns `model` and `label` of a row."""


class OutboxStore:
    """The outbox of a service in a database. `repairs` and `tidying` are the parts for those loops.

    `searching`, `progress` and `originals` are the parts for operators.

    Several services may keep their events in the same tables. Each sees the events, streams and
    groups of its own models only: the broker, the keys of signatures and the numbers of partitions
    of another service may be others.
    """

    def __init__(self, database: Database, service: str) -> None:
        self.database = database
        self.service = service
        self.repairs = RepairStore(database)
        self.tidying = TidyStore(database)
        self.searching = SearchStore(database)
        self.progress = ProgressStore(database)
        self.originals = OriginalStore(database)
        self.id = ""
        """Names the tables among those of all databases; known once the tables are prepared."""
        self._dialect = database.dialect.name
        self._shared = False
        """Whether pending events of other services were seen in the tables."""

    async def prepare(self) -> None:
        """Create the tables, or bring older tables to the version of this release.

        Reports settings with which PostgreSQL may lose confirmed commits. Raises the errors of
        `database.versions.prepare`, and `ConfigurationError` for ids that would not rise.
        """
        home = await identity.home_of(self.database)
        entries = await prepare(self.database, TABLES, {identity.ENTRY: identity.new_id(home)})
        self.id = await identity.identify(self.database, entries, home)
        if self._dialect == statements.POSTGRESQL:
            await check_sequence(self.database)
            [settings] = (await self.database.run(statements.DURABILITY)).rows
            if loose := [name for name, value in settings.items() if value == "off"]:
                telemetry.emit(catalogue.OutboxNotDurable(off=", ".join(loose)))

    async def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write events in the transaction of the caller. A column that a row leaves out is NULL."""
        # Every row with all columns, in one order: the statements are compiled once.
        rows = [{**_EMPTY, **row} for row in rows]
        if self._dialect == statements.POSTGRESQL:
            many = len(rows) > 1
            columns = {name: [row[name] for row in rows] for name in _EMPTY} if many else rows[0]
            await self.database.run(statements.appending(many=many), columns)
            return
        # In a transaction, because the pending rows are found as the last of the table.
        # The transaction of the caller holds the lock of the file: the last rows are these rows.
        if len(rows) == 1:
            await self.database.run(_INSERT, rows[0])
        else:
            await self.database.run_many(_INSERT, rows)
        await self.database.run(statements.LAST_PENDING, {"count": len(rows)})

    # Streams

    async def streams(self) -> dict[Partition, Standing]:
        """Return every stream of the service, as the database knows the stream."""
        rows = (await self.database.run(select(streams))).rows
        return {
            Partition(row["model"], row["label"]): steps.standing_of(row)
            for row in rows
            if self._owns(row["model"])
        }

    async def heads(self) -> dict[Partition, StreamHead]:
        """Return the head of every stream of the service, as the database knows the head."""
        return {partition: each.head for partition, each in (await self.streams()).items()}

    async def add_stream(self, partition: Partition) -> None:
        """Begin to keep the head of a stream. Two relays may do so at once."""
        key = {"model": partition.model, "label": partition.name}
        head = {"epoch": "", "head_ms": 0, "head_seq": 0, "head_event": ""}
        await self.database.run(statements.adding(self._dialect, streams), key | head)

    # Reading and marking

    async def pending(
        self, size: PageSize, avoiding: Collection[Partition] = ()
    ) -> dict[Partition, Pending]:
        """Return the oldest pending rows by partition, in the order of their ids, with the heads.

        At most `size.rows` rows with about `size.bytes` of data. Rows of the partitions in
        `avoiding` are passed over. One statement, so that heads and rows are of the same moment: a
        stream may have been rolled back to a head that is older than the rows, and these rows do
        not come next there.
        """
        page, foreign = await self._page(size, avoiding)
        if foreign and not self._shared:
            # Foreign rows may fill every page. Only now, because the statement that passes rows
            # over costs more, and hardly any tables are shared.
            self._shared = True
            page, _ = await self._page(size, avoiding)
        return page

    async def _page(
        self, size: PageSize, avoiding: Collection[Partition]
    ) -> tuple[dict[Partition, Pending], bool]:
        """Return a page, and whether rows of other services were left out."""
        avoids = bool(avoiding)
        statement = statements.reading(self._dialect, avoiding=avoids, shared=self._shared)
        parameters: Parameters = {"limit": size.rows, "bytes": size.bytes}
        if avoids:
            parameters |= statements.names_for(self._dialect, [str(name) for name in avoiding])
        if self._shared:
            parameters["service"] = self.service
        heads: dict[_Key, Pending] = {}
        events: dict[_Key, list[PendingRow]] = {}
        # Ids whose events are deleted: they would fill the page for ever.
        orphans: list[int] = []
        for row in await self.database.read(statement, parameters):
            key = (row[0], row[1])
            if row[2] is None:
                heads[key] = _pending(row)
            elif row[0] is None:
                orphans.append(row[2])
            elif key in events:
                events[key].append(PendingRow._make(row[2:]))
            else:
                events[key] = [PendingRow._make(row[2:])]
        await steps.take_pending(self.database, orphans)
        of_service = {key: rows for key, rows in events.items() if self._owns(key[0])}
        return _joined(heads, of_service), len(of_service) < len(events)

    def _owns(self, model: str) -> bool:
        return service_of(model) == self.service

    async def repartition(self, names: Mapping[int, str]) -> None:
        """Give pending rows another partition of their model, named by the id of the row."""
        rows = [{"number": number, "new": name} for number, name in names.items()]
        await self.database.run_many(_REPARTITION, rows)

    async def mark(self, chunks: Sequence[Chunk]) -> list[bool]:
        """Note that the rows of these chunks, each of another stream, stand at their entries.

        Returns:
            For each chunk whether it is noted: not, if the stream's head was not the old head.
        """
        if self._dialect == statements.POSTGRESQL:
            rows = (await self.database.run(statements.marking(), _arrays_of(chunks))).rows
            moved = {row["number"] for row in rows}
            return [number in moved for number in range(len(chunks))]
        async with self.database.transaction():
            return [await self._mark(chunk) for chunk in chunks]

    async def _mark(self, chunk: Chunk) -> bool:
        if not await steps.move_head(self.database, chunk.partition, chunk.old, chunk.new):
            return False
        await steps.take_pending(self.database, chunk.placed.ids)
        await steps.keep(self.database, chunk.partition, chunk.placed)
        return True

    # Groups

    async def groups(self) -> dict[str, set[str]]:
        """Return the groups of the receivers of every model of the service."""
        names: dict[str, set[str]] = {}
        for row in (await self.database.run(select(groups))).rows:
            if not self._owns(row["model"]):
                continue
            names.setdefault(row["model"], set()).add(row["name"])
        return names

    async def add_group(self, model: str, name: str) -> None:
        """Note that a group was seen on a stream of the model. Two relays may do so at once."""
        group = {"model": model, "name": name}
        await self.database.run(statements.adding(self._dialect, groups), group)

    async def forget_group(self, name: str) -> int:
        """Forget a group, so that no stream waits for it; return from how many models."""
        # By model: a group of the same name may read the models of another service in the tables.
        models = [model for model, names in (await self.groups()).items() if name in names]
        of_service = groups.c.model.in_(models)
        forgotten = delete(groups).where(groups.c.name == name, of_service)
        return (await self.database.run(forgotten)).rowcount if models else 0

    # Counts

    async def count_pending(self) -> int:
        """Return the number of events that are not in their stream, of all services here."""
        result = await self.database.run(select(func.count(pending.c.id).label("n")))
        return int(result.rows[0]["n"])

    async def oldest_pending(self) -> float | None:
        """Return the age in seconds of the oldest event that is not in its stream, of all services.

        Return None without such an event.
        """
        rows = (await self.database.run(_OLDEST_PENDING)).rows
        return max(0.0, rows[0]["age"] / 1000) if rows else None


def _joined(
    heads: Mapping[_Key, Pending], events: Mapping[_Key, Iterable[PendingRow]]
) -> dict[Partition, Pending]:
    page: dict[Partition, Pending] = {}
    for key, rows in events.items():
        page[Partition(*key)] = stream = heads.get(key) or Pending(None, Incarnations())
        stream.rows = sorted(rows)
    return page


def _arrays_of(chunks: Sequence[Chunk]) -> Parameters:
    """Return the parameters of `statements.marking`."""
    rows = [
        (
            number,
            *_key_of(chunk.partition),
            *_columns_of(chunk.old),
            *_columns_of(chunk.new),
            ledger.encode(chunk.placed),
        )
        for number, chunk in enumerate(chunks)
    ]
    columns = map(list, zip(*rows, strict=True))
    arrays: Parameters = dict(zip(statements.MARKED, columns, strict=True))
    arrays["id"] = [number for chunk in chunks for number in chunk.placed.ids]
    arrays["chunk"] = [at for at, chunk in enumerate(chunks) for _ in chunk.placed.ids]
    return arrays


def _key_of(partition: Partition) -> _Key:
    return partition.model, partition.name


def _columns_of(head: StreamHead) -> tuple[str, int, int, str]:
    return head.epoch, head.entry.ms, head.entry.seq, head.event_id


def _pending(row: Sequence[Any]) -> Pending:
    """Return the head that a row of `statements.reading` contains."""
    _, _, _, epoch, _, event_id, _, _, numbers, *_ = row
    ms, seq, *incarnations = loads(numbers)
    head = StreamHead(epoch, EntryId(ms, seq), event_id)
    return Pending(head, Incarnations(*incarnations))
