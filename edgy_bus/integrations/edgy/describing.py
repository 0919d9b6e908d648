"""Describe an Edgy model to the bus: the `SourceModel` of a class of Edgy."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Never

from pydantic import TypeAdapter
from sqlalchemy import Column, Dialect

from edgy_bus.codec import dumps, key_text
from edgy_bus.errors import ModelError, OperationError
from edgy_bus.integrations.row_changes import refusing_to_send
from edgy_bus.integrations.sqlalchemy.values import Conversion, Convert
from edgy_bus.signals import Broadcaster
from edgy_bus.sources import Key, Value, Values
from edgy_bus.sources.changes import differ
from edgy_bus.sources.statements import unique_columns

Columns = Mapping[str, Column[Value]]


class EdgyModel:
    """The description of a class of Edgy. Fields are the columns, by their names in the class.

    Columns are looked at when they are first needed: a class may refer to classes that are
    declared later.

    Args:
        sender: the class.
        dialect: the dialect of the database.
        parents: the descriptions of the classes that the class inherits from.
        signals: the signals of the class, if it has some already.
    """

    publish: tuple[str, ...] | None = None

    def __init__(
        self,
        sender: Value,
        dialect: Dialect,
        parents: Sequence["EdgyModel"],
        signals: Broadcaster | None = None,
    ) -> None:
        self.name: str = sender.__name__
        self.sender = sender
        self._dialect = dialect
        schema = sender.get_active_class_schema(check_schema=False, check_tenant=False)
        table = sender.meta.tablename
        self.table_key: str = f"{schema}.{table}" if schema else table
        """The name of the table, as SQLAlchemy's metadata has it."""
        self.table_name: str = table
        self.signals: Broadcaster = signals or Broadcaster(
            self.name,
            refusing_to_send("Edgy's models", "statements do", "a model", "transaction"),
            parents=[each.signals for each in parents],
            fields=_PublicFields(self),
        )

    @cached_property
    def columns(self) -> Columns:
        """Return the columns of the table."""
        return dict(self.sender.table.columns.items())

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Return the columns of the primary key."""
        return tuple(name for name, column in self.columns.items() if column.primary_key)

    @cached_property
    def public(self) -> tuple[str, ...]:
        """Return the columns that may leave the database: those of fields without `secret=True`.

        Raises:
            ModelError: for a secret key.
        """
        meta = self.sender.meta
        secret = {
            column for field in meta.secret_fields for column in meta.field_to_column_names[field]
        }
        for name in self.keys:
            if name in secret:
                raise ModelError(f"{self.name}.{name} is a part of the key and cannot be secret")
        return tuple(name for name in self.columns if name not in secret)

    @cached_property
    def unique(self) -> frozenset[str]:
        """Return the columns that stand in unique indexes, and those of the key."""
        names = unique_columns(self.sender.table)
        unique = {key for key, column in self.columns.items() if column.name in names}
        return frozenset(unique.union(self.keys))

    @cached_property
    def _conversions(self) -> Mapping[str, "FieldConversion"]:
        return {name: self._conversion(name) for name in self.public}

    def _conversion(self, name: str) -> "FieldConversion":
        column, where = self.columns[name], f"{self.name}.{name}"
        try:
            by_column = Conversion(column.type, self._dialect, where)
        except ModelError:
            field = self.sender.meta.fields.get(name)
            if field is None:
                raise
            # Edgy knows the values of its own fields, for example of IP addresses.
            adapter: TypeAdapter[Value] = TypeAdapter(field.annotation)
            return FieldConversion(_to_json(adapter), adapter.validate_python)
        return FieldConversion(None if by_column.is_plain else by_column.dump, by_column.load)

    def check(self) -> None:
        """Look at the columns.

        Raises:
            ModelError: for a field whose values events cannot contain.
        """
        _ = self._conversions

    def stored(self, values: Values) -> Values:
        """Return values in the form in which events contain them."""
        stored = dict(values)
        for name, conversion in self._conversions.items():
            if conversion.dump is not None and stored.get(name) is not None:
                stored[name] = conversion.dump(stored[name])
        return stored

    def differs(self, name: str, before: Values, after: Values) -> bool:
        """Return whether events of two states of a row have other values of a field."""
        if name not in before:
            return False
        old, new = (self.stored({name: row[name]}) for row in (before, after))
        return differ(old[name], new[name])

    def key_of(self, row: Values) -> Key:
        """Return the key of a row: a value, or a JSON list as a text for several columns."""
        stored = self.stored({name: row[name] for name in self.keys})
        if len(self.keys) == 1:
            return key_text(stored[self.keys[0]])
        return dumps([stored[name] for name in self.keys]).decode()

    def read(self, row: Values) -> Value:
        """Return an instance of the row that an event contains."""
        # An event of an earlier release of the program may have a column that is gone.
        conversions = self._conversions
        values = {name: conversions[name].load(row[name]) for name in row if name in conversions}
        return self.instance(values)

    def instance(self, values: Values) -> Value:
        """Return an instance with values of the columns, as if a query had returned the row.

        Fields without a value are missing: those that are secret, and those that the database
        makes. Reading them loads nothing, because the row may have changed since.
        """
        if all(name in values for name in self.columns):
            instance = self.sender(**values, __phase__="init_db")
        else:
            # Edgy's proxies allow missing fields, but are no instances of the class.
            instance = self.sender.proxy_model(**values, __phase__="init_db")
            object.__setattr__(instance, "__class__", self.sender)
            object.__setattr__(instance, "real_save", _refuse_to_save)
        instance._db_loaded = True
        return instance


class FieldConversion:
    """The functions between the values of a column and those of an event."""

    def __init__(self, dump: Convert | None, load: Convert) -> None:
        self.dump = dump
        self._load = load

    def load(self, value: Value) -> Value:
        """Return the value for the attribute."""
        return None if value is None else self._load(value)


def _to_json(adapter: TypeAdapter[Value]) -> Convert:
    return lambda value: adapter.dump_python(value, mode="json", warnings=False)


class _PublicFields(Collection[str]):
    """The public fields of a model, looked up when a receiver names one of them."""

    def __init__(self, model: EdgyModel) -> None:
        self._model = model

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> Collection[str]:
        try:
            return self._model.public
        except LookupError:
            # A class that the class refers to is not declared yet.
            meta = self._model.sender.meta
            return set(meta.fields).difference(meta.secret_fields)


async def _refuse_to_save(**_: Value) -> Never:
    # Edgy would write the defaults of the missing fields over what the row has.
    raise OperationError(
        "this instance of a receiver knows a part of its row, because secret fields stay in the "
        "database, and save() would write defaults over the rest: use update(field=…), or query "
        "the row"
    )
