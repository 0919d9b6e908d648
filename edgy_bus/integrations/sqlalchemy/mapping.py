"""Describe a mapped class to the bus: the `SourceModel` of a class of SQLAlchemy."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from sqlalchemy import BinaryExpression, Column, ColumnElement, Dialect, Table
from sqlalchemy.orm import (
    Mapper,
    RelationshipDirection,
    RelationshipProperty,
    configure_mappers,
    make_transient_to_detached,
)
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql import operators, visitors

from edgy_bus.codec import dumps, key_text
from edgy_bus.errors import ModelError
from edgy_bus.integrations.row_changes import refusing_to_send
from edgy_bus.integrations.sqlalchemy.values import Conversion
from edgy_bus.signals import Broadcaster
from edgy_bus.sources import Key, Value, Values
from edgy_bus.sources.changes import differ
from edgy_bus.sources.statements import unique_columns

ClassMapper = Mapper[Value]
"""The mapper of any class."""

ModelOf = Callable[[ClassMapper], "MappedModel | None"]

Columns = Mapping[str, Column[Value]]


class MappedModel:
    """The description of a mapped class.

    Args:
        mapper: the mapper of the class.
        dialect: the dialect of the database.
        parents: the descriptions of the mapped classes that the class inherits from.
        signals: the signals of the class, if it has some already.

    Raises:
        ModelError: for a mapping whose changes cannot all be published.
    """

    publish: tuple[str, ...] | None = None

    def __init__(
        self,
        mapper: ClassMapper,
        dialect: Dialect,
        parents: Sequence["MappedModel"],
        signals: Broadcaster | None = None,
    ) -> None:
        self.mapper = mapper
        self.name: str = mapper.class_.__name__
        self.sender: Value = mapper.class_
        # Before anything else: a class that is refused gets no signals.
        _check_tables(mapper)
        self.columns = _columns(mapper)
        """The columns that the database stores, by the names of their attributes."""
        self.keys = tuple(mapper.get_property_by_column(each).key for each in mapper.primary_key)
        self.public = tuple(
            name for name, column in self.columns.items() if not column.info.get("secret")
        )
        for name in self.keys:
            if name not in self.public:
                raise ModelError(f"{self.name}.{name} is a part of the key and cannot be secret")
        self._conversions = {
            name: Conversion(self.columns[name].type, dialect, f"{self.name}.{name}")
            for name in self.public
        }
        self._dumps = {
            name: each.dump for name, each in self._conversions.items() if not each.is_plain
        }
        self.prepared: dict[object, Value] = {}
        """Statements about the rows, which `rows` makes once."""
        self.signals: Broadcaster = signals or Broadcaster(
            self.name,
            refusing_to_send("mapped classes", "sessions do", "a class", "session"),
            parents=[each.signals for each in parents],
            fields=self.public,
        )

    @cached_property
    def unique(self) -> frozenset[str]:
        """Return the attributes whose columns stand in unique indexes."""
        names: set[str] = set()
        for table in _tables(self.mapper):
            names.update(unique_columns(table))
        return frozenset(key for key, column in self.columns.items() if column.name in names)

    @property
    def table_names(self) -> frozenset[str]:
        """Return the names of the tables of a row, in lower case."""
        return frozenset(each.name.lower() for each in _tables(self.mapper))

    @cached_property
    def discriminator(self) -> str | None:
        """Return the attribute that says which class of a hierarchy a row belongs to."""
        column = self.mapper.polymorphic_on
        if not isinstance(column, Column):
            return None
        return next((name for name, each in self.columns.items() if each is column), None)

    @cached_property
    def assigning(self) -> frozenset[str]:
        """Return the attributes whose assignment changes the row: columns and references."""
        references = (
            each.key
            for each in self.mapper.relationships
            if each.direction is RelationshipDirection.MANYTOONE and not each.viewonly
        )
        return frozenset([*self.columns, *references])

    def stored(self, values: Values) -> Values:
        """Return values in the form in which events contain them."""
        # Most columns have values that JSON holds as they are.
        if self._dumps.keys().isdisjoint(values):
            return values
        stored = dict(values)
        for name, dump in self._dumps.items():
            if name in stored:
                stored[name] = dump(stored[name])
        return stored

    def differs(self, name: str, before: Values, after: Values) -> bool:
        """Return whether events of two states of a row have other values of an attribute."""
        if name not in before:
            return False
        old, new = before[name], after[name]
        if old is new:
            return False
        dump = self._dumps.get(name)
        # Most values: of one type, and without parts that could differ in JSON alone.
        if dump is None and type(old) is type(new) and not isinstance(old, dict | list):
            return bool(old != new)
        return differ(old, new) if dump is None else differ(dump(old), dump(new))

    def key_of(self, row: Values) -> Key:
        """Return the key of a row: a value, or a JSON list as a text for several columns."""
        # The stored form, so that a key reads the same in every program.
        if len(self.keys) == 1:
            name = self.keys[0]
            dump = self._dumps.get(name)
            return key_text(row[name] if dump is None else dump(row[name]))
        stored = self.stored({name: row[name] for name in self.keys})
        return dumps([stored[name] for name in self.keys]).decode()

    def loaded(self, name: str, value: Value) -> Value:
        """Return the value of an attribute from that of an event."""
        return self._conversions[name].load(value)

    def read(self, row: Values) -> object:
        """Return a detached instance of the row that an event contains.

        Attributes that the event lacks are not loaded: a secret column, or a relationship.
        """
        # A worker makes no object itself, and queries nothing: both would configure the mappers.
        if not self.mapper.configured:
            configure_mappers()
        instance = self.mapper.class_manager.new_instance()
        for name, value in row.items():
            # An event of an earlier release of the program may have a column that is gone.
            if name in self._conversions:
                set_committed_value(instance, name, self.loaded(name, value))
        if all(name in row for name in self.keys):
            make_transient_to_detached(instance)
        return instance


def by_class(
    model: MappedModel, keys: Iterable[Sequence[Value]], model_of: ModelOf
) -> dict[MappedModel, list[tuple[Value, ...]]]:
    """Return keys by the model of each row.

    Args:
        model: the model that a statement names.
        keys: the parts of each key, and what says which class of a hierarchy the row belongs to.
        model_of: returns the model of a mapper.
    """
    count, mapper = len(model.keys), model.mapper
    by_kind = {} if mapper.polymorphic_on is None else mapper.polymorphic_map
    models: dict[MappedModel, list[tuple[Value, ...]]] = {}
    for row in keys:
        of_row = by_kind.get(row[-1])
        concrete = model if of_row is None else model_of(of_row) or model
        models.setdefault(concrete, []).append(tuple(row[:count]))
    return models


def local_keys(mapper: ClassMapper) -> Sequence[ColumnElement[Value]]:
    """Return the key in the table that a statement about a class changes.

    Of joined inheritance, that is the table of the class itself, whose key may have other names.
    """
    return [_local(mapper, column) for column in mapper.primary_key]


def _local(mapper: ClassMapper, column: ColumnElement[Value]) -> ColumnElement[Value]:
    equal = {column}
    # From the base class to the class: each table refers to the one above.
    for each in reversed(list(mapper.iterate_to_root())):
        equal |= {b for pair in _equated(each) for a, b in (pair, pair[::-1]) if a in equal}
    for attribute in mapper.column_attrs:
        # An attribute of the class, if there is one: SQLAlchemy can evaluate it in Python.
        first = attribute.columns[0]
        if first in equal and isinstance(first, Column) and first.table is mapper.local_table:
            expression: ColumnElement[Value] = getattr(mapper.class_, attribute.key)
            return expression
    return column


def _equated(mapper: ClassMapper) -> Sequence[tuple[Value, Value]]:
    """Return the pairs of columns that join the table of a class to that of its parent."""
    if mapper.inherit_condition is None:
        return ()
    return [
        (each.left, each.right)
        for each in visitors.iterate(mapper.inherit_condition)
        if isinstance(each, BinaryExpression) and each.operator is operators.eq
    ]


def check_relationships(mapper: ClassMapper, tables: Mapping[Table, ClassMapper]) -> None:
    """Refuse relationships that change rows of published tables past their objects.

    Args:
        mapper: a configured mapper.
        tables: the tables of published classes.

    Raises:
        ModelError: naming the relationship.
    """
    # The unit of work executes these statements for no object in particular.
    for relationship in mapper.relationships:
        where = f"{mapper.class_.__name__}.{relationship.key}"
        changed = _changed_by(relationship)
        if relationship.post_update and not tables.keys().isdisjoint(_tables(changed)):
            raise ModelError(
                f"{where} has post_update=True: such a change of a row comes without its object, "
                "and so without an event. Leave it out, and flush between the two changes"
            )
        owner = _owner(relationship, tables)
        if owner is not None:
            raise ModelError(
                f"{where} changes rows of {owner.class_.__name__} through secondary="
                f"{owner.local_table!s}, without objects and so without events: use viewonly=True, "
                f"or relate to {owner.class_.__name__} itself"
            )


def _changed_by(relationship: RelationshipProperty[Value]) -> ClassMapper:
    """Return the mapper of the rows that have the foreign key of a relationship."""
    is_own = relationship.direction is RelationshipDirection.MANYTOONE
    return relationship.parent if is_own else relationship.mapper


def _owner(
    relationship: RelationshipProperty[Value], tables: Mapping[Table, ClassMapper]
) -> ClassMapper | None:
    secondary = relationship.secondary
    if relationship.viewonly or not isinstance(secondary, Table):
        return None
    return tables.get(secondary)


def _tables(mapper: ClassMapper) -> Sequence[Table]:
    return [each for each in mapper.tables if isinstance(each, Table)]


def _check_tables(mapper: ClassMapper) -> None:
    name = mapper.class_.__name__
    if mapper.concrete:
        raise ModelError(
            f"{name} uses concrete table inheritance, which is not supported: map the class "
            "without inheritance, or use joined or single table inheritance"
        )
    for each in mapper.iterate_to_root():
        if not isinstance(each.local_table, Table):
            raise ModelError(
                f"{name} is mapped to a {type(each.local_table).__name__}: only classes that are "
                "mapped to tables can be published"
            )


def _columns(mapper: ClassMapper) -> Columns:
    # Not `column_attrs`, which configures all mappers: other classes may not be declared yet.
    # A column_property(select(…)) is computed by queries, and not stored.
    return {
        name: column
        for name, column in mapper.columns.items()
        if isinstance(column, Column) and column.table in mapper.tables
    }
