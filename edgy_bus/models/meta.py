"""What a model class knows about itself: `User.meta`."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from edgy_bus.errors import ModelError
from edgy_bus.models.fields import Field
from edgy_bus.signals import Broadcaster

if TYPE_CHECKING:
    from edgy_bus.models.registry import Registry

_KNOWN = ("registry", "tablename", "abstract", "unique_together", "indexes", "publish")


@dataclass(frozen=True)
class MetaInfo:
    """A model's declaration, read once."""

    name: str
    abstract: bool
    tablename: str
    fields: Mapping[str, Field]
    signals: Broadcaster
    bound: "Registry | None"
    declared_table: sa.Table | None
    publish: tuple[str, ...] | None = None
    """Patterns of the signals that go to the broker; None leaves it to the bus."""
    plain: bool = False
    """An instance has no private attributes of the user's, and nothing of the user's runs when it is made."""

    @property
    def registry(self) -> "Registry":
        """The registry. Raises `ModelError` for a model without one."""
        if self.bound is None:
            raise ModelError(
                f"{self.name} has no registry: add `class Meta: registry = registry` to it"
            )
        return self.bound

    @property
    def table(self) -> sa.Table:
        if self.declared_table is None:
            reason = "it is abstract" if self.abstract else "it has no registry"
            raise ModelError(f"{self.name} has no table: {reason}")
        return self.declared_table

    @cached_property
    def pk(self) -> str:
        """The name of the primary key."""
        return next(name for name, field in self.fields.items() if field.primary_key)

    @cached_property
    def public(self) -> tuple[str, ...]:
        """The fields that may leave the database."""
        return tuple(name for name, field in self.fields.items() if not field.secret)

    @cached_property
    def names(self) -> set[str]:
        """The fields. Pydantic's set of the fields that are set, shared by all instances that were read: it cannot grow."""
        return set(self.fields)

    @cached_property
    def generated(self) -> frozenset[str]:
        """The fields that the database fills in where there is no value."""
        return frozenset(name for name, field in self.fields.items() if field.generated)

    @cached_property
    def _mutable(self) -> tuple[str, ...]:
        return tuple(
            name for name, field in self.fields.items() if isinstance(field.column_type, sa.JSON)
        )

    def kept(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row that stays as it is when the instance's lists and dictionaries change."""
        kept = dict(row)
        for name in self._mutable:
            kept[name] = deepcopy(kept.get(name))
        return kept

    def public_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: row[name] for name in self.public if name in row}


def options_of(name: str, declared: type | None) -> dict[str, Any]:
    """The options of a `class Meta`. Raises `ModelError` for one that is not known."""
    found = (
        {key: value for key, value in vars(declared or object).items() if not key.startswith("_")}
        if declared
        else {}
    )
    for key in found:
        if key not in _KNOWN:
            raise ModelError(
                f"{name}.Meta has an unknown option {key!r}: the known ones are {', '.join(_KNOWN)}"
            )
    return found


def publish_patterns(name: str, declared: Any) -> tuple[str, ...] | None:
    """`Meta.publish` as patterns: text, several texts, or False for none."""
    if declared is None or declared is True:
        return None
    found = (declared,) if isinstance(declared, str) else tuple(declared or ())
    for pattern in found:
        if not isinstance(pattern, str) or "." in pattern:
            raise ModelError(
                f'{name}.Meta.publish holds {pattern!r}: write names of signals or patterns, like "post_*"'
            )
    return found


def make_table(
    name: str,
    tablename: str,
    fields: Mapping[str, Field],
    options: Mapping[str, Any],
    metadata: sa.MetaData,
) -> sa.Table:
    """The SQLAlchemy table of a model. Raises `ModelError` when the declaration does not add up."""
    keys = [key for key, field in fields.items() if field.primary_key]
    if len(keys) != 1:
        raise ModelError(
            f"{name} needs exactly one primary key and has {len(keys)}: "
            "declare one, for example `id: int = edgy_bus.BigIntegerField(primary_key=True)`"
        )
    if tablename in metadata.tables:
        raise ModelError(
            f"{name}: another model of this registry has the table {tablename!r} already"
        )
    parts: list[Any] = [
        field.column(key, f"{tablename}.{keys[0]}") for key, field in fields.items()
    ]
    for together in options.get("unique_together", ()):
        parts.append(sa.UniqueConstraint(*_known(name, fields, together)))
    for together in options.get("indexes", ()):
        columns = _known(name, fields, together)
        parts.append(sa.Index(f"ix_{tablename}_{'_'.join(columns)}", *columns))
    return sa.Table(tablename, metadata, *parts, sqlite_autoincrement=fields[keys[0]].generated)


def _known(name: str, fields: Mapping[str, Field], columns: Any) -> tuple[str, ...]:
    chosen = (columns,) if isinstance(columns, str) else tuple(columns)
    for column in chosen:
        if column not in fields:
            raise ModelError(f"{name}.Meta names a field {column!r} that the model does not have")
    return chosen
