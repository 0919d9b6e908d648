"""Models: pydantic classes whose instances are rows."""

from collections.abc import Collection
from inspect import get_annotations
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from pydantic.annotated_handlers import GetCoreSchemaHandler
from pydantic.errors import PydanticUserError
from pydantic_core import CoreSchema

from edgy_bus.database import Row
from edgy_bus.errors import OperationError, UnknownAttribute
from edgy_bus.models import delivery, instances, row_values, state
from edgy_bus.models.checking import checker_of, refuse_frozen_assignment, remembering
from edgy_bus.models.declaring import (
    check_attributes,
    described,
    missing_attribute,
    reader_of,
    refuse_names,
    without_annotation,
)
from edgy_bus.models.meta import MetaInfo
from edgy_bus.models.queryset import QuerySet
from edgy_bus.models.state import STATE, State
from edgy_bus.signals import Broadcaster, Signal, suggestion
from edgy_bus.sources import Value, Values, is_computed
from edgy_bus.sources.statements import KEY, select_row

# The class has no public name, and type checkers do not know it by an expression.
if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _ModelMetaclass
else:
    _ModelMetaclass = type(BaseModel)

M = TypeVar("M", bound="Model")

# Past pydantic, which would validate every value.
_set = object.__setattr__


class _Query:
    """Returns every row of the model: `User.query`."""

    def __get__(self, instance: object, owner: type[M]) -> QuerySet[M]:
        if instance is not None:
            raise OperationError(f"`query` belongs to the class: write {owner.__name__}.query")
        return QuerySet(owner)


class _Signals:
    """Returns the signals of the class, also of an instance: `User.signals`, `user.signals`."""

    def __get__(self, instance: object, owner: "type[Model]") -> Broadcaster:
        return owner.meta.signals


class _Metaclass(_ModelMetaclass):
    """Checks the attributes of a class before pydantic, whose errors name no remedy."""

    def __new__(
        cls, name: str, bases: tuple[type, ...], attributes: Row, /, **keywords: Value
    ) -> type:
        check_attributes(name, attributes)
        try:
            created: type = super().__new__(cls, name, bases, attributes, **keywords)
        except PydanticUserError as error:
            refused = without_annotation(name, attributes, error)
            if refused is None:
                raise
            raise refused from None
        return created

    # Hidden from type checkers, which would accept any attribute.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Value:
            try:
                return super().__getattr__(name)
            except AttributeError:
                meta = None if name.startswith("_") else self.__dict__.get("meta")
                if meta is None:
                    raise
                raise UnknownAttribute(missing_attribute(meta, name)) from None


class Model(BaseModel, metaclass=_Metaclass):
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
    signals: ClassVar[_Signals] = _Signals()
    _edgy_state: State = PrivateAttr(default_factory=state.blank)
    """What the instance knows of its row."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        return remembering(cls, handler(source), "_edgy_initialise")

    def _edgy_initialise(self, context: Value) -> None:
        """Do what pydantic does after the validation of the fields."""
        # First the private attributes alone: the hook of a subclass may change fields.
        Model.model_post_init(self, context)
        state.remember_fields(self)
        self.model_post_init(context)

    def __init_subclass__(cls, **kwargs: Value) -> None:
        super().__init_subclass__(**kwargs)
        # Before pydantic reads the fields: its own errors name no remedy.
        refuse_names(cls.__name__, get_annotations(cls), Model)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Value) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        refuse_names(cls.__name__, cls.model_fields, Model)
        cls.meta = described(cls, _send)
        # A model without a table, abstract or without a registry, has no rows that could change.
        if cls.meta.bound is not None and not cls.meta.abstract:
            cls.meta.bound.register(cls)

    # Reading

    @property
    def pk(self) -> Value:
        """Return the primary key; None before the first save if the database makes the key."""
        return getattr(self, self.meta.pk)

    @property
    def model_fields_set(self) -> set[str]:
        """Return the fields that were assigned, or read from the database."""
        fields = self.__pydantic_fields_set__
        if fields is self.meta.names:
            fields = set(fields)
            _set(self, "__pydantic_fields_set__", fields)
        return fields

    def __eq__(self, value: object) -> bool:
        if type(self) is not type(value) or not isinstance(value, Model):
            return NotImplemented
        # Two new rows without a key are two rows.
        return self is value or (self.pk is not None and self.pk == value.pk)

    def __hash__(self) -> int:
        return state.hash_of(self)

    def _edgy_is_saved(self) -> bool:
        """Return whether the instance has a row: read or written, and not deleted since."""
        return state.state_of(self).saved

    # Hidden from type checkers, which would accept any attribute.
    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Value) -> None:
            try:
                super().__setattr__(name, value)
            except ValidationError as error:
                refuse_frozen_assignment(type(self), error)
                raise

    def field_values(self) -> Row:
        """Return every field by name."""
        return {name: getattr(self, name) for name in self.meta.fields}

    def snapshot(self) -> Row:
        """Return the fields that may leave the database, without those that are unknown."""
        return self.meta.public_row(row_values.known_values(self))

    @classmethod
    def from_row(cls, row: Values) -> Self:
        """Return an instance of a row that the database returned.

        A field that the row lacks is unknown: its value is None, and is not written unless the
        application assigns a value.
        """
        # As `model_construct`, without looking for aliases and defaults. Rows are made by the
        # thousand, and `model_construct` would take most of the time.
        meta = cls.meta
        instance = cls.__new__(cls)
        _set(instance, "__dict__", dict(row))
        _set(instance, "__pydantic_fields_set__", meta.names)
        _set(instance, "__pydantic_extra__", None)
        if meta.plain:
            _set(instance, "__pydantic_private__", {STATE: meta.kept(row)})
        else:
            _complete(instance, State(True, meta.kept(row)))
        if len(row) < len(meta.fields):
            _mark_unknown(instance, row)
        return instance

    @classmethod
    def from_snapshot(cls, data: Values) -> Self:
        """Return an instance of an event's row.

        Missing fields (secret, or younger than the event) are unknown, as for `from_row`.
        """
        return cls.from_row(reader_of(cls, cls.meta.fields)(data))

    # Writing

    async def save(self, values: Values | None = None) -> Self:
        """Insert a new row, or update all known fields of a row that was saved or loaded before.

        After `instance.id = None` a saved instance is inserted as a new row.

        Args:
            values: assigned to the fields first.

        Raises:
            pydantic.ValidationError: a field has a wrong value.
            OperationError: there is no such field, or the primary key was changed.
            ObjectNotFound: the row to update is gone.
        """
        await instances.save(self, values or {})
        return self

    async def update(self, **values: Value) -> Self:
        """Write these fields only; other assigned fields stay unsaved.

        During `pre_update` the instance has its old values. Receivers may change `values`, and
        what they assign to the instance is written, too.

        Raises:
            pydantic.ValidationError: a value, or the row with the values, is not valid.
            OperationError: there is no such field, or the instance is not saved.
            ObjectNotFound: the row is gone.
        """
        await instances.update(self, values)
        return self

    async def delete(self) -> int:
        """Delete the row, and return 1, or 0 if the row was gone already."""
        return await instances.delete(self)

    async def load(self) -> Self:
        """Read the row again. Raises `ObjectNotFound` if the row is gone."""
        row_values.require_same_key(self)
        statement = select_row(self.meta.table.c[self.meta.pk])
        result = await self.meta.registry.database.run(statement, {KEY: self.pk})
        state.take_row(self, instances.only_row(self, result.rows))
        return self

    async def related(self, name: str) -> Value:
        """Return the row that the foreign key `name` refers to; None for NULL.

        Raises `OperationError` for a field that is no foreign key, `ObjectNotFound` if the row is
        gone.
        """
        field = self.meta.fields.get(name)
        if field is None or field.references is None:
            keys = [key for key, each in self.meta.fields.items() if each.references is not None]
            hint = suggestion(name, keys, "the foreign keys are") if keys else ""
            raise OperationError(f"{type(self).__name__}.{name} is not a foreign key{hint}")
        row_values.require_same_key(self)
        key = getattr(self, name)
        target = type(self) if field.references == "self" else field.references
        return None if key is None else await target.query.get(pk=key)

    # For sets of rows

    def insert_values(self) -> Row:
        """Return the validated values of a new row, without a key that the database makes.

        The instance stays as it is. Raises `pydantic.ValidationError` for a wrong value.
        """
        return row_values.insert_values(self)

    def update_values(self, names: Collection[str]) -> Row:
        """Return the validated values of these fields, and the times that every change sets.

        The instance stays as it is.

        Raises:
            pydantic.ValidationError: a value, or the row with the values, is not valid.
            OperationError: there is no such field, or the instance is not saved.
        """
        return row_values.update_values(self, names)

    def take_row(
        self,
        row: Values,
        written: Collection[str] | None = None,
        before: state.Snapshot | None = None,
    ) -> None:
        """Set the fields to the values that the database has.

        If a transaction is open and rolls back, the instance becomes what it was `before`, or is
        now.

        Args:
            row: the row as written.
            written: the fields that the operation wrote; other fields with unsaved values keep
                them. None stands for all fields.
            before: the instance before receivers have changed it.
        """
        unsaved = () if written is None else row_values.unsaved_fields(self, written)
        state.take_row(self, row, unsaved, before)

    @classmethod
    def checked_values(cls, values: Values) -> Row:
        """Return validated values for the update of a set, and the times that every change sets.

        Each field is validated for itself: there is no whole row. Expressions for the database are
        not validated.

        Raises:
            pydantic.ValidationError: a value is not valid.
            OperationError: there is no such field, or it is the primary key.
        """
        row_values.require_assignable(cls.meta, values)
        plain = {name: value for name, value in values.items() if not is_computed(value)}
        checked = {**values, **checker_of(cls).parts(plain)}
        return {**checked, **row_values.times_of_change(cls.meta, checked)}


def _complete(instance: Model, kept: State) -> None:
    """Do for a row what pydantic does for an instance that pydantic makes."""
    if type(instance).model_config.get("extra") == "allow":
        _set(instance, "__pydantic_extra__", {})
    _set(instance, "__pydantic_fields_set__", set(instance.meta.names))
    instance.model_post_init(None)
    state.set_state(instance, kept)


def _mark_unknown(instance: Model, row: Values) -> None:
    """Give the instance of a part of a row None for the other fields."""
    fields = instance.__dict__
    for name in instance.meta.fields:
        if name not in row:
            fields[name] = None
    _set(instance, "__pydantic_fields_set__", set(row))


async def _send(signal: Signal, sender: Value, instance: object, kwargs: Values) -> None:
    """Send a signal of a model: the route of all signals."""
    row = instance if isinstance(instance, Model) else None
    await delivery.send(signal, sender, instance, row, kwargs)
