"""Models: pydantic classes whose instances are rows."""

from collections.abc import Sequence
from typing import ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, create_model

from edgy_bus.database import Row
from edgy_bus.errors import ModelError, ObjectNotFound, OperationError
from edgy_bus.models import operations
from edgy_bus.models.fields import Field, current_time, field_of
from edgy_bus.models.meta import MetaInfo, make_table, options_of, publish_patterns
from edgy_bus.models.operations import Operation, perform
from edgy_bus.models.queryset import QuerySet
from edgy_bus.models.registry import Registry
from edgy_bus.signals import Broadcaster, Signal
from edgy_bus.sources import DeleteRow, InsertRows, RowChange, UpdateRows, Value, Values, Write
from edgy_bus.sources.statements import KEY, key_columns, select_row

M = TypeVar("M", bound="Model")

# Past pydantic, which would validate every value.
_set = object.__setattr__


class _Query:
    """Returns every row of the model: `User.query`."""

    def __get__(self, instance: object, owner: type[M]) -> QuerySet[M]:
        if instance is not None:
            raise OperationError(f"`query` belongs to the class: write {owner.__name__}.query")
        return QuerySet(owner)


class Model(BaseModel):
    """A table, with fields such as `edgy_bus.CharField(…)`, and options in `class Meta`.

    `Meta` may contain `registry` (inherited), `tablename` (the class name in lower case and an
    "s"), `abstract` (no table of its own), `unique_together` and `indexes` (lists of field names),
    and `publish` (patterns of the signals that go to the broker, `("post_*",)`, instead of the
    bus's own; an empty tuple keeps every signal here).
    """

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    meta: ClassVar[MetaInfo]
    query: ClassVar[_Query] = _Query()
    _stored: Row | None = PrivateAttr(default=None)
    """The row as last read or written; None for an instance that was never saved."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Value) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.meta = _described(cls)
        # A model without a table, abstract or without a registry, has no rows that could change.
        if cls.meta.bound is not None and not cls.meta.abstract:
            cls.meta.bound.register(cls)

    # Reading

    @property
    def pk(self) -> Value:
        """Return the primary key; None before the first save if the database makes the key."""
        return getattr(self, self.meta.pk)

    @property
    def signals(self) -> Broadcaster:
        """Return the signals of the class."""
        return self.meta.signals

    def __eq__(self, value: object) -> bool:
        if type(self) is not type(value) or not isinstance(value, Model):
            return NotImplemented
        # Two new rows without a key are two rows.
        return self is value or (self.pk is not None and self.pk == value.pk)

    def __hash__(self) -> int:
        return hash((type(self), self.pk))

    def field_values(self) -> Row:
        """Return every field by name."""
        return {name: getattr(self, name) for name in self.meta.fields}

    def snapshot(self) -> Row:
        """Return the fields that may leave the database."""
        return self.meta.public_row(self.field_values())

    @classmethod
    def from_row(cls, row: Values) -> Self:
        """Return an instance of a row that the database returned."""
        # As `model_construct`, without looking for aliases and defaults: a row has every field.
        # Rows are made by the thousand, and `model_construct` would take most of the time.
        instance = cls.__new__(cls)
        _set(instance, "__dict__", dict(row))
        _set(instance, "__pydantic_fields_set__", cls.meta.names)
        _set(instance, "__pydantic_extra__", None)
        if cls.meta.plain:
            _set(instance, "__pydantic_private__", {"_stored": cls.meta.kept(row)})
        else:
            instance.model_post_init(None)
            instance._stored = cls.meta.kept(row)
        return instance

    @classmethod
    def from_snapshot(cls, data: Values) -> Self:
        """Return an instance of an event's row.

        Missing fields (secret, or younger than the event) are None.
        """
        return cls.from_row(_tolerant(cls).model_validate(data).__dict__)

    # Writing

    async def save(self, values: Values | None = None) -> Self:
        """Insert a new row, or update all fields of a row that was saved or loaded before.

        Args:
            values: assigned to the fields first.

        Raises:
            pydantic.ValidationError: a field has a wrong value.
            ObjectNotFound: the row to update is gone.
        """
        self._assign(values or {})
        is_update = self._stored is not None
        await perform(
            Operation(
                model=self.meta,
                action="save",
                instance=self,
                model_instance=self,
                values=self.field_values(),
                write=self._describe_update_all if is_update else self._describe_insert,
                apply=self._take,
                is_update=is_update,
            )
        )
        return self

    async def update(self, **values: Value) -> Self:
        """Assign and write these fields only. Raises `ObjectNotFound` if the row is gone."""
        self._require_stored("update")
        checked = self.checked_values(values)

        def write(reports_old: bool) -> Write:
            # Receivers of `pre_update` may have changed other fields.
            changed = [name for name in self.meta.fields if self._is_changed(name)]
            names = dict.fromkeys([*checked, *changed])
            current = self.checked_values({name: getattr(self, name) for name in names})
            return self._describe_update(current, "post_update", reports_old)

        # Before the receivers of `pre_update` run: they get the instance with the new values.
        self._assign(checked)
        await perform(
            Operation(
                model=self.meta,
                action="update",
                instance=self,
                model_instance=self,
                values=checked,
                write=write,
                apply=self._take,
                is_update=True,
            )
        )
        return self

    async def delete(self) -> int:
        """Delete the row, and return 1, or 0 if the row was gone already."""
        self._require_stored("delete")
        write = DeleteRow(self.meta, "post_delete", self.pk)
        changes = await perform(
            Operation(
                model=self.meta,
                action="delete",
                instance=self,
                model_instance=self,
                values=None,
                write=lambda _: write,
                apply=self._forget,
            )
        )
        return len(changes)

    async def load(self) -> Self:
        """Read the row again. Raises `ObjectNotFound` if the row is gone."""
        statement = select_row(self.meta.table.c[self.meta.pk])
        result = await self.meta.registry.database.run(statement, {KEY: self.pk})
        self._take_only(result.rows)
        return self

    async def related(self, name: str) -> Value:
        """Return the row that the foreign key `name` refers to; None for NULL.

        Raises `OperationError` for a field that is no foreign key, `ObjectNotFound` if the row is
        gone.
        """
        field = self.meta.fields.get(name)
        if field is None or field.references is None:
            raise OperationError(f"{type(self).__name__}.{name} is not a foreign key")
        key = getattr(self, name)
        target = type(self) if field.references == "self" else field.references
        return None if key is None else await target.query.get(pk=key)

    def insert_values(self) -> Row:
        """Return the validated values of a new row, without a key that the database makes."""
        self._stamp(inserting=True)
        # Again, because receivers of `pre_save` may have changed values.
        self._validate()
        generated = self.meta.generated
        return {
            name: value
            for name, value in self.field_values().items()
            if value is not None or name not in generated
        }

    @classmethod
    def checked_values(cls, values: Values) -> Row:
        """Return validated values for an update.

        Raises `OperationError` for an unknown field and for the primary key.
        """
        # An update assigns some fields: the rules of each field hold, on an instance without
        # others.
        blank = cls.model_construct()
        for name, value in values.items():
            if name not in cls.meta.fields:
                raise OperationError(
                    f"{cls.__name__} has no field {name!r}: it has {', '.join(cls.meta.fields)}"
                )
            if cls.meta.fields[name].primary_key:
                raise OperationError(
                    f"the primary key {name!r} cannot be changed: delete the row and create another"
                )
            cls.__pydantic_validator__.validate_assignment(blank, name, value)
        stamps = {
            name: current_time()
            for name, field in cls.meta.fields.items()
            if field.auto_now and name not in values
        }
        return {name: getattr(blank, name) for name in values} | stamps

    def _describe_insert(self, _: bool) -> Write:
        return InsertRows(self.meta, "post_save", [self.insert_values()])

    def _describe_update_all(self, reports_old: bool) -> Write:
        self._stamp(inserting=False)
        self._validate()
        values = self.field_values()
        del values[self.meta.pk]
        return self._describe_update(values, "post_save", reports_old)

    def _describe_update(self, values: Values, signal: str, reports_old: bool) -> Write:
        # `save` writes all columns. A lock that blocks inserts of child rows is necessary only for
        # a key that changes, as far as this instance knows.
        keys = key_columns(self.meta.table)
        exclusive = any(self._is_changed(name) for name in keys if name in values)
        return UpdateRows(self.meta, signal, [(self.pk, values)], exclusive, reports_old)

    def _take(self, changes: Sequence[RowChange]) -> None:
        self._take_only([change.row for change in changes])

    def _take_only(self, rows: Sequence[Values]) -> None:
        if not rows:
            raise ObjectNotFound(
                f"the {type(self).__name__} with {self.meta.pk} {self.pk!r} is not there any more"
            )
        self.take_row(rows[0])

    def take_row(self, row: Values) -> None:
        """Set every field to the value that the database has."""
        self.__dict__.update(row)
        self._stored = self.meta.kept(row)

    @property
    def stored_row(self) -> Values:
        """Return the row as last read or written; empty for an instance that was never saved."""
        return self._stored or {}

    def _forget(self, _: Sequence[RowChange]) -> None:
        self._stored = None

    def _assign(self, values: Values) -> None:
        for name, value in values.items():
            if name not in self.meta.fields:
                raise OperationError(
                    f"{type(self).__name__} has no field {name!r}: "
                    f"it has {', '.join(self.meta.fields)}"
                )
            setattr(self, name, value)

    def _is_changed(self, name: str) -> bool:
        """Return whether a field, other than the primary key, differs from the row as stored."""
        if self.meta.fields[name].primary_key:
            return False
        return bool(self.stored_row.get(name) != getattr(self, name))

    def _stamp(self, *, inserting: bool) -> None:
        # One time for all fields: `created` and `changed` of a new row are equal.
        now = current_time()
        for name, field in self.meta.fields.items():
            if field.auto_now or (inserting and field.auto_now_add and getattr(self, name) is None):
                setattr(self, name, now)

    def _validate(self) -> None:
        checked = self.__pydantic_validator__.validate_python(self.field_values())
        self.__dict__.update(checked.__dict__)

    def _require_stored(self, verb: str) -> None:
        if self._stored is None:
            raise OperationError(
                f"cannot {verb} a {type(self).__name__} that was never saved, or was deleted"
            )


async def _send(signal: Signal, sender: Value, instance: object, kwargs: Values) -> None:
    """Send a signal of a model: the route of all signals."""
    row = instance if isinstance(instance, Model) else None
    await operations.send(signal, sender, instance, row, kwargs)


def _is_plain(model: type[Model]) -> bool:
    """Return whether pydantic alone makes instances, so that `from_row` may do the same faster."""
    # A private attribute or a `model_post_init` of the user's must see every instance.
    private, initialise = model.__private_attributes__, model.model_post_init
    return list(private) == ["_stored"] and initialise.__name__ == "init_private_attributes"


def _described(model: type[Model]) -> MetaInfo:
    """Read the declaration of a model. Raises `ModelError` for a wrong declaration."""
    name = model.__name__
    # `Meta` of the class itself: an inherited `Meta` belongs to the parent's table.
    options = options_of(name, model.__dict__.get("Meta"))
    inherited = [getattr(base, "meta", None) for base in model.__bases__]
    parents = [meta for meta in inherited if isinstance(meta, MetaInfo)]
    registries = [meta.bound for meta in parents if meta.bound]
    registry: Registry | None = options.get("registry") or next(iter(registries), None)
    published = [meta.publish for meta in parents if meta.publish is not None]
    fields = _fields_of(model)
    tablename = options.get("tablename", f"{name.lower()}s")
    abstract = bool(options.get("abstract", False))
    table = None
    if registry is not None and not abstract:
        table = make_table(name, tablename, fields, options, registry.metadata)
    public = [key for key, field in fields.items() if not field.secret]
    return MetaInfo(
        name=name,
        sender=model,
        abstract=abstract,
        tablename=tablename,
        fields=fields,
        signals=Broadcaster(name, _send, [meta.signals for meta in parents], public),
        bound=registry,
        declared_table=table,
        publish=publish_patterns(name, options.get("publish", next(iter(published), None))),
        plain=_is_plain(model),
    )


def _fields_of(model: type[Model]) -> dict[str, Field]:
    """Return the fields by name. Raises `ModelError` for an attribute that is no field."""
    fields: dict[str, Field] = {}
    for name, info in model.model_fields.items():
        field = field_of(info)
        if field is None:
            raise ModelError(
                f"{model.__name__}.{name} is annotated but not a field: "
                "give it edgy_bus.CharField(…) or the like"
            )
        fields[name] = field
    return fields


_readers: dict[type[Model], type[BaseModel]] = {}


def _tolerant(model: type[Model]) -> type[BaseModel]:
    """Return a pydantic model that reads a row with missing or unknown fields."""
    if model not in _readers:
        fields: Row = {
            # None, because a field may be younger than the event.
            name: ((model.meta.fields[name].snapshot_type or info.annotation) | None, None)
            for name, info in model.model_fields.items()
            if info.annotation
        }
        config = ConfigDict(extra="ignore", arbitrary_types_allowed=True, hide_input_in_errors=True)
        _readers[model] = create_model(f"{model.__name__}Snapshot", __config__=config, **fields)
    return _readers[model]
