"""Sets of rows: described without any SQL, then read, changed or deleted."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pydantic import AliasChoices, AliasPath

from edgy_bus.database import Row
from edgy_bus.errors import IntegrityError, OperationError, SkipOperation
from edgy_bus.models.describing import M
from edgy_bus.models.meta import MetaInfo
from edgy_bus.models.operations import Operation, has_receivers, perform
from edgy_bus.models.reading import ReadableSet
from edgy_bus.models.row_values import require_fields, require_saved
from edgy_bus.models.rows import RowModel
from edgy_bus.models.state import NO_SNAPSHOTS, Snapshots, state_of
from edgy_bus.sources import (
    ChangeSet,
    InsertRows,
    RowChange,
    UpdateRows,
    Value,
    Values,
    Write,
    is_computed,
)
from edgy_bus.sources.drawing import draw_keys
from edgy_bus.sources.expressions import computed
from edgy_bus.sources.statements import key_columns


class QuerySet(ReadableSet[M]):
    """Rows of one model: `await` a QuerySet, or iterate over it with `async for`.

    Methods that narrow a set return a new QuerySet. `create`, `update` and `delete` send the
    model's signals. Local receivers of a set are called once, with the QuerySet as `instance` and
    None as `model_instance`; the bus gets an event for each row.
    """

    async def create(self, **values: Value) -> M:
        """Save a new row, and return the instance. `pk` stands for the primary key."""
        instance = self._new(values)
        await instance.save()
        return instance

    async def get_or_create(
        self, defaults: Values | None = None, **lookups: Value
    ) -> tuple[M, bool]:
        """Return the row that fulfils all of the lookups, or a new row; and which.

        The second part of the result is True for a new row. It is False as well if a receiver
        skipped the creation (`SkipOperation`): then the instance is not saved.

        A new row takes the values of the plain lookups and of `exact`, and the `defaults`, which
        win. Other lookups (`email__iexact`) only search. A default that is callable is called.
        Sends the save signals for a new row. If another task creates the row at the same moment and
        a unique constraint reports that, the other task's row is returned.
        """
        # A misspelt name must not wait for the day when there is no row.
        _require_names(self.model.meta, defaults)
        row = await self.get_or_none(**lookups)
        if row is not None:
            return row, False
        values = self._by_field({**self._equalities(lookups), **_called(defaults)})
        # Lookups have the names of fields, which an alias hides from the constructor.
        instance = self.model.model_validate(values, by_alias=True, by_name=True)
        try:
            await self._save_new(instance)
        except IntegrityError as error:
            # Raised by a receiver, or by another constraint.
            row = await self.get_or_none(**lookups) if error.refused is instance else None
            if row is None:
                raise
            return row, False
        return instance, state_of(instance).saved

    def _equalities(self, lookups: Values) -> Row:
        """Return the values that a row must have to fulfil the lookups of equality among these."""
        fields = ("pk", *self.model.meta.fields)
        plain = {
            name if name in fields else name.removesuffix("__exact"): value
            for name, value in lookups.items()
        }
        return {name: value for name, value in plain.items() if name in fields}

    async def _save_new(self, instance: M) -> None:
        database = self._database
        if not database.in_transaction:
            await instance.save()
            return
        # A savepoint: on PostgreSQL, the failed INSERT would end the caller's transaction.
        async with database.transaction():
            await instance.save()

    async def update_or_create(
        self,
        defaults: Values | None = None,
        create_defaults: Values | None = None,
        **lookups: Value,
    ) -> tuple[M, bool]:
        """Return the row that fulfils all of the lookups, updated, or a new row; and which.

        An existing row is updated to `defaults`, with the update signals. A new row is made as by
        `get_or_create`, from `create_defaults` if they are given, else from `defaults`.
        """
        _require_names(self.model.meta, defaults)
        for_new = defaults if create_defaults is None else create_defaults
        row, created = await self.get_or_create(for_new, **lookups)
        if not created and defaults and state_of(row).saved:
            await row.update(**self._by_field(_called(defaults)))
        return row, created

    async def bulk_update(self, rows: Iterable[M], fields: Iterable[str] | str) -> int:
        """Write these fields of many instances, in one transaction, and send the update signals.

        Receivers of `pre_update` get the values as a list of dicts, which they may change. Returns
        the number of rows.

        Raises:
            OperationError: for an unknown field, the primary key, an instance of another model, or
                an instance that was never saved.
        """
        instances = list(rows)
        names = tuple(dict.fromkeys([fields] if isinstance(fields, str) else fields))
        self._require_updatable(instances, names)
        if not instances or not names:
            return 0
        meta = self.model.meta
        originals = [_values_of(instance, names) for instance in instances]
        values = [dict(row) for row in originals]
        snapshots = self._before("update", instances)

        # Made after the receivers of `pre_update` have run: they may have changed the instances.
        def write(_: bool) -> Write:
            self._take_changes(instances, originals, values)
            changed = dict.fromkeys([*names, *(name for row in values for name in row)])
            updates = [(instance.pk, instance.update_values(changed)) for instance in instances]
            exclusive = not key_columns(meta.table).isdisjoint(updates[0][1])
            return UpdateRows(meta, "post_update", updates, exclusive)

        def apply(changes: Sequence[RowChange]) -> None:
            change_of = {change.key: change for change in changes}
            for at, instance in enumerate(instances):
                if instance.pk in change_of:
                    change = change_of[instance.pk]
                    instance.take_row(change.row, change.assigned, snapshots[at])

        changes = await self._perform(
            "update", values, write, apply=apply, is_update=True, snapshots=snapshots
        )
        return len(changes)

    def _require_updatable(self, instances: Sequence[M], names: Sequence[str]) -> None:
        meta = self.model.meta
        for name in names:
            if self._column(name).primary_key:
                raise OperationError(
                    f"the primary key {name!r} cannot be changed: delete the row and create another"
                )
        for instance in instances:
            if not isinstance(instance, self.model):
                raise OperationError(
                    f"cannot update a {type(instance).__name__} as a {meta.name}: bulk_update "
                    f"takes instances of {meta.name}"
                )
            require_saved(instance, "update")

    async def bulk_create(self, rows: Iterable[M | Values]) -> list[M]:
        """Save many new rows, in one transaction, and send the save signals.

        Receivers of `pre_save` get the values as a list of dicts, which they may change. Returns
        the given instances, and instances of the given dicts, in the order given, with their keys
        and values as the database has them. Raises `OperationError` for an instance that is given
        twice.
        """
        if isinstance(rows, self.model | Mapping | str):
            raise OperationError(
                f"bulk_create takes a list of {self.model.__name__} rows, not a "
                f"{type(rows).__name__}: write bulk_create([…]), or create(…) for a single row"
            )
        instances = [self._instance_of(row) for row in rows]
        if not instances:
            return []
        if len(set(map(id, instances))) < len(instances):
            raise OperationError(
                f"an instance of {self.model.__name__} was given twice, and can hold one row only: "
                "make another instance, or a dict, for each row"
            )
        meta = self.model.meta
        originals = [instance.field_values() for instance in instances]
        values = [dict(row) for row in originals]
        snapshots = self._before("save", instances)
        drawn = await self._drawn_keys(instances)
        written: list[Values] = []

        def write(_: bool) -> Write:
            self._take_changes(instances, originals, values)
            for instance, key in zip(instances, drawn, strict=True):
                row = key | instance.insert_values()
                # In the order of fields, as rows whose keys were given: an INSERT takes rows of the
                # same columns, and all of them have one order.
                written.append({name: row[name] for name in meta.fields if name in row})
            return InsertRows(meta, "post_save", written)

        # Not after the receivers: those of `post_save` see the instances with their keys.
        def apply(changes: Sequence[RowChange]) -> None:
            keys = [row.get(meta.pk) for row in written]
            rows = _in_order(changes, keys)
            for at, (instance, row) in enumerate(zip(instances, rows, strict=True)):
                if row is not None:
                    instance.take_row(row, before=snapshots[at])

        await self._perform("save", values, write, apply=apply, snapshots=snapshots)
        return [instance for instance in instances if state_of(instance).saved]

    async def _drawn_keys(self, instances: Sequence[M]) -> list[Row]:
        """Return the key of each instance whose key the database makes; see `draw_keys`."""
        meta = self.model.meta
        keyless = [instance for instance in instances if instance.pk is None]
        if meta.pk not in meta.generated:
            keyless = []
        keys = await draw_keys(self._database, meta.table.c[meta.pk], len(keyless))
        following = iter(keys)
        return [
            {meta.pk: next(following)} if keys and instance.pk is None else {}
            for instance in instances
        ]

    def _instance_of(self, row: M | Values) -> M:
        if isinstance(row, self.model):
            return row
        if not isinstance(row, Mapping):
            raise OperationError(
                f"bulk_create takes instances of {self.model.__name__} and dicts, not a "
                f"{type(row).__name__}"
            )
        return self._new(row)

    def _new(self, values: Values) -> M:
        return self.model(**self._by_field(values))

    def _by_field(self, values: Values) -> Row:
        """Return values with the name of the primary key instead of `pk`."""
        if "pk" not in values:
            return dict(values)
        pk = self.model.meta.pk
        if pk in values:
            raise OperationError(f"`pk` and {pk!r} are the same field: write one of them")
        return {pk if name == "pk" else name: value for name, value in values.items()}

    def _take_changes(
        self, instances: Sequence[M], originals: Sequence[Row], values: Sequence[Row]
    ) -> None:
        """Assign to the instances what receivers have changed in `values`.

        Raises `OperationError` if receivers have added or removed rows.
        """
        if len(values) != len(instances):
            raise OperationError(
                f"a receiver left {len(values)} values for {len(instances)} rows of "
                f"{self.model.__name__}: change the dicts, and add or remove none"
            )
        for instance, before, after in zip(instances, originals, values, strict=True):
            for name, value in after.items():
                if name not in before or value is not before[name]:
                    setattr(instance, self._column(name).name, value)

    async def update(self, *, expand: bool = True, **values: Value) -> int:
        """Change every row of the set, and return the number of rows.

        A value may be an expression: `update(stock=edgy_bus.F("stock") - 1)`. Receivers of
        `pre_update` get the values as a dict, which they may change. Without values nothing
        happens, and the result is 0.

        `expand=False` puts a single event for the set on the bus instead of an event for each row:
        cheaper for large sets, but the event contains no rows, and has no place in the order of any
        row's events.
        """
        self._require_whole("update")
        if not values:
            return 0
        meta = self.model.meta
        checked = self._checked(values)
        assigned = dict(checked)

        def write(reports_keys: bool) -> Write:
            changed = {
                name: value
                for name, value in assigned.items()
                if name not in checked or value is not checked[name]
            }
            if not assigned:
                # A receiver has taken everything out.
                raise SkipOperation
            # A value is validated once, when it is given: here only those of receivers.
            validated = self._checked(changed) if changed else {}
            final = {**assigned, **{name: validated[name] for name in changed}}
            return ChangeSet(meta, "post_update", self.where, final, expand, reports_keys)

        return len(await self._perform("update", assigned, write, is_update=True))

    def _checked(self, values: Values) -> Row:
        """Return validated values. Raises `OperationError` for an expression that is wrong."""
        table, dialect = self.model.meta.table, self._database.dialect.name
        checked = self.model.checked_values(values)
        for name, value in checked.items():
            if is_computed(value):
                computed(table, name, value, dialect)
        return checked

    async def delete(self, *, expand: bool = True) -> int:
        """Delete every row of the set, and return the number of rows. `expand` as for `update`."""
        self._require_whole("delete")

        def write(reports_keys: bool) -> Write:
            meta = self.model.meta
            return ChangeSet(meta, "post_delete", self.where, None, expand, reports_keys)

        return len(await self._perform("delete", None, write))

    def _before(self, action: str, instances: Sequence[M]) -> Snapshots:
        # Only receivers change the given instances before the write.
        return Snapshots(instances if has_receivers(self.model.meta, f"pre_{action}") else ())

    async def _perform(
        self,
        action: str,
        values: Value,
        write: Callable[[bool], Write],
        *,
        apply: Callable[[Sequence[RowChange]], None] = lambda _: None,
        is_update: bool = False,
        snapshots: Snapshots = NO_SNAPSHOTS,
    ) -> Sequence[RowChange]:
        return await perform(
            Operation(
                model=self.model.meta,
                action=action,
                instance=self,
                values=values,
                write=write,
                apply=apply,
                restore=snapshots.restore,
                is_update=is_update,
            )
        )


def _values_of(instance: RowModel, names: Iterable[str]) -> Row:
    return {name: getattr(instance, name) for name in names}


def _in_order(changes: Sequence[RowChange], keys: Sequence[Value]) -> list[Values | None]:
    """Return inserted rows in the order of `keys`; None stands for a key that the database made.

    A row that nobody knows, because a trigger refused rows without an error, is None.
    """
    # Rows with a key were inserted in the order of keys, the others in the order given.
    by_key = {change.key: change.row for change in changes}
    chosen = set(keys)
    generated = [change.row for change in changes if change.key not in chosen]
    if len(generated) != sum(key is None for key in keys):
        generated = []
    following = iter(generated)
    return [next(following, None) if key is None else by_key.get(key) for key in keys]


def _require_names(meta: MetaInfo, defaults: Values | None) -> None:
    """Raise `OperationError` for a default whose name a new row would refuse."""
    if defaults and meta.sender.model_config.get("extra") == "forbid":
        known = {"pk", *_aliases(meta)}
        require_fields(meta, [name for name in defaults if name not in known])


def _aliases(meta: MetaInfo) -> Iterator[str]:
    """Return the names of the constructor's input that are no names of fields."""
    for info in meta.sender.model_fields.values():
        alias = info.validation_alias or info.alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        for choice in choices:
            name = choice.path[0] if isinstance(choice, AliasPath) else choice
            if isinstance(name, str):
                yield name


def _called(defaults: Values | None) -> Row:
    """Return defaults with the results of those that are functions."""
    values = defaults or {}
    return {name: value() if callable(value) else value for name, value in values.items()}
