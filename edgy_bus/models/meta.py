"""The description of a model class: `User.meta`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import SchemaItem

from edgy_bus.database import Row
from edgy_bus.errors import ModelError
from edgy_bus.models.fields import Field
from edgy_bus.models.registry import Registry
from edgy_bus.models.schemas import row_schemas
from edgy_bus.signals import Broadcaster, resembling, suggestion
from edgy_bus.sources import RowSchemas, Value, Values

_OPTIONS = ("registry", "tablename", "abstract", "unique_together", "indexes", "publish")

_OWN_OPTIONS = ("tablename", "abstract")
"""The options that a class does not inherit: they describe the table of a single class."""

_ADDED_OPTIONS = ("unique_together", "indexes")
"""The options that a class inherits from all of its parents, not from the first alone."""


@dataclass(frozen=True)
class MetaInfo:
    """The declaration of a model, read once; the `SourceModel` of the bus."""

    name: str
    sender: Any
    """The class of the model."""
    abstract: bool
    tablename: str
    fields: Mapping[str, Field]
    signals: Broadcaster
    bound: Registry | None
    declared_table: sa.Table | None
    options: Values
    """The options of `class Meta`, with those inherited."""
    publish: tuple[str, ...] | None = None
    """Patterns of the signals that go to the broker; None leaves that to the bus."""
    plain: bool = False
    """Instances have no private attributes of the user's, and run no code of the user's."""

    @property
    def registry(self) -> Registry:
        """Return the registry. Raises `ModelError` for a model without a registry."""
        if self.bound is None:
            raise ModelError(
                f"{self.name} has no registry: add `class Meta: registry = registry` to it"
            )
        return self.bound

    @property
    def table(self) -> sa.Table:
        """Return the table. Raises `ModelError` for a model without a table."""
        if self.declared_table is None:
            reason = (
                "it is abstract: use a model that derives from it"
                if self.abstract
                else "it has no registry: add `class Meta: registry = registry` to it"
            )
            raise ModelError(f"{self.name} has no table: {reason}")
        return self.declared_table

    @cached_property
    def pk(self) -> str:
        """Return the name of the primary key."""
        # Computed when needed: an abstract model may have no key.
        return next(name for name, field in self.fields.items() if field.primary_key)

    @cached_property
    def public(self) -> tuple[str, ...]:
        """Return the fields that may leave the database."""
        return tuple(name for name, field in self.fields.items() if not field.secret)

    @cached_property
    def names(self) -> set[str]:
        """Return all fields, as pydantic's set of assigned fields.

        Instances that were read share this set, which nothing changes: the application gets a copy
        from `model_fields_set`.
        """
        return set(self.fields)

    @cached_property
    def generated(self) -> frozenset[str]:
        """Return the fields for which the database makes a missing value."""
        return frozenset(name for name, field in self.fields.items() if field.generated)

    @cached_property
    def changed_times(self) -> tuple[str, ...]:
        """Return the fields that every save sets to the current time."""
        return tuple(name for name, field in self.fields.items() if field.auto_now)

    @cached_property
    def created_times(self) -> tuple[str, ...]:
        """Return the fields that the first save sets to the current time."""
        added = (name for name, field in self.fields.items() if field.auto_now_add)
        return tuple(name for name in added if name not in self.changed_times)

    @cached_property
    def _mutable(self) -> tuple[str, ...]:
        return tuple(name for name, field in self.fields.items() if field.kind.natural is object)

    @cached_property
    def _dumps(self) -> Mapping[str, Callable[[Value], Value]]:
        return {
            name: field.conversion.dump
            for name, field in self.fields.items()
            if field.conversion is not None and field.conversion.load is not None
        }

    def stored(self, values: Values) -> Values:
        """Return values in the form of their columns, as events contain them."""
        if not self._dumps:
            return values
        dumps = self._dumps
        return {
            name: dumps[name](value) if name in dumps and value is not None else value
            for name, value in values.items()
        }

    def kept(self, row: Values) -> Row:
        """Return a copy of a row that shares no list or dictionary with the row."""
        # An application may change a list of JSON in place; the copy shows the difference.
        kept = dict(row)
        for name in self._mutable:
            # A row that was read in part may lack the field.
            if name in kept:
                kept[name] = deepcopy(kept[name])
        return kept

    def public_row(self, row: Values) -> Row:
        """Return the values of a row that may leave the database."""
        return {name: row[name] for name in self.public if name in row}

    def conditions(self, lookups: Values) -> Sequence[sa.ColumnElement[bool]]:
        """Return the conditions of lookups by their names, as `filter` takes them."""
        conditions: Sequence[sa.ColumnElement[bool]] = self.sender.query.filter(**lookups).where
        return conditions

    def read(self, row: Values) -> object:
        """Return an instance of the row that an event contains."""
        return self.sender.from_snapshot(row)

    def schemas(self) -> RowSchemas:
        """Return the JSON Schemas of the fields that may leave the database."""
        public = {name: self.fields[name] for name in self.public}
        return row_schemas(public, self.sender.model_fields)


def inherited_options(parents: Iterable[MetaInfo]) -> Row:
    """Return the options that a class has from its parents: of each, that of the first parent."""
    options: Row = {}
    for meta in parents:
        for key, value in meta.options.items():
            if key in _ADDED_OPTIONS:
                before = options.get(key, ())
                options[key] = (*before, *(part for part in value if part not in before))
            elif key not in _OWN_OPTIONS:
                options.setdefault(key, value)
    return options


def options_of(name: str, declared: object, inherited: Values) -> Row:
    """Return the options of a `class Meta`, and the inherited options that it leaves out.

    Raises `ModelError` for an unknown option, and for a `Meta` that is no class.
    """
    options = dict(inherited)
    if declared is None:
        return options
    if not isinstance(declared, type):
        raise ModelError(meta_is_no_class(name, declared))
    # `class Meta(Base.Meta)` has the options of `Base.Meta`, but not the table of `Base`.
    for part in reversed(declared.__mro__[:-1]):
        for key, value in vars(part).items():
            if key.startswith("_") or (key in _OWN_OPTIONS and part is not declared):
                continue
            if key not in _OPTIONS:
                raise ModelError(
                    f"{name}.Meta has an unknown option {key!r}"
                    f"{suggestion(key, _OPTIONS, 'the options are')}"
                )
            options[key] = value
    _check_options(name, options)
    return options


def _check_options(name: str, options: Values) -> None:
    """Check the values of options. Raises `ModelError` for a value of a wrong type."""
    tablename = options.get("tablename", name)
    if not isinstance(tablename, str) or not tablename:
        raise ModelError(f"{name}.Meta.tablename is {tablename!r}: write the name of a table")
    abstract = options.get("abstract", False)
    if not isinstance(abstract, bool):
        raise ModelError(f"{name}.Meta.abstract is {abstract!r}: write True or False")
    for key in _ADDED_OPTIONS:
        # Text is an iterable of texts too, of its letters.
        if isinstance(options.get(key), str):
            raise ModelError(
                f"{name}.Meta.{key} is text: write a list of fields, or of tuples of fields, "
                f'{key} = [("{options[key]}",)]'
            )


def meta_is_no_class(name: str, declared: object) -> str:
    """Return the text of an error: `Meta` is a value, and not a class."""
    return (
        f"{name}.Meta is a {type(declared).__name__}: write `class Meta:` in the class, "
        "with the options as its attributes"
    )


def publish_patterns(name: str, declared: Value, signals: Sequence[str]) -> tuple[str, ...] | None:
    """Return `Meta.publish` as patterns: a text, several texts, or False for no signal.

    Raises `ModelError` for a pattern that matches none of `signals`, if it resembles one that does.
    """
    if declared is None or declared is True:
        return None
    patterns = (declared,) if isinstance(declared, str) else tuple(declared or ())
    for pattern in patterns:
        if not isinstance(pattern, str) or "." in pattern:
            raise ModelError(
                f"{name}.Meta.publish holds {pattern!r}: "
                'write names of signals or patterns, like "post_*"'
            )
        if any(fnmatchcase(signal, pattern) for signal in signals):
            continue
        # Every other pattern may be meant for a signal that is declared after the class.
        meant = resembling(pattern, [*signals, *_USUAL_PATTERNS])
        if meant is not None:
            raise ModelError(
                f"{name}.Meta.publish holds {pattern!r}, which matches no signal: "
                f"did you mean {meant!r}?"
            )
    return patterns


_USUAL_PATTERNS = ("*", "pre_*", "post_*", "*_save", "*_update", "*_delete")


def make_table(
    name: str,
    tablename: str,
    fields: Mapping[str, Field],
    options: Values,
    registry: Registry,
) -> sa.Table:
    """Return the SQLAlchemy table of a model. Raises `ModelError` for a wrong declaration."""
    # The outbox orders events by a key, and identifies rows by the text of a key.
    keys = [key for key, field in fields.items() if field.primary_key]
    if len(keys) != 1:
        several = "; several fields are unique together by Meta.unique_together" if keys else ""
        raise ModelError(
            f"{name} needs exactly one primary key and has {len(keys)}: declare one, for example "
            f"`id: int = edgy_bus.BigIntegerField(primary_key=True)`{several}"
        )
    metadata = registry.metadata
    if tablename in metadata.tables:
        raise ModelError(
            f"{name}: another model of this registry has the table {tablename!r} already: write "
            "another `tablename` in `class Meta`"
        )
    _check_references(name, fields, registry)
    parts: list[SchemaItem] = [
        field.column(key, f"{tablename}.{keys[0]}") for key, field in fields.items()
    ]
    for together in options.get("unique_together", ()):
        parts.append(sa.UniqueConstraint(*_columns(name, fields, together)))
    for together in options.get("indexes", ()):
        columns = _columns(name, fields, together)
        parts.append(sa.Index(f"ix_{tablename}_{'_'.join(columns)}", *columns))
    # Without AUTOINCREMENT, SQLite gives the key of a deleted row to the next new row, whose events
    # would continue those of the deleted row.
    return sa.Table(tablename, metadata, *parts, sqlite_autoincrement=fields[keys[0]].generated)


def _check_references(name: str, fields: Mapping[str, Field], registry: Registry) -> None:
    for key, field in fields.items():
        if field.references in (None, "self") or field.references.meta.bound is registry:
            continue
        raise ModelError(
            f"{name}.{key} refers to {field.references.__name__} of another registry: a database "
            "knows no keys of another database; use one Registry, or a field without ForeignKey"
        )


def _columns(
    name: str, fields: Mapping[str, Field], columns: str | Iterable[str]
) -> tuple[str, ...]:
    chosen = (columns,) if isinstance(columns, str) else tuple(columns)
    for column in chosen:
        if column not in fields:
            hint = suggestion(column, fields, "it has")
            raise ModelError(
                f"{name}.Meta names a field {column!r} that the model does not have{hint}"
            )
    return chosen
