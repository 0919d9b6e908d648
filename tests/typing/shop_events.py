"""Events of the service shop, for consumers.

Made by `edgy-bus schema classes`: make it anew, and do not edit it.
"""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AliasPath, Base64Bytes, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

__all__ = [
    "AnyEvent",
    "Change",
    "Customer",
    "CustomerChanges",
    "CustomerGreeted",
    "CustomerGreetedData",
    "CustomerPartial",
    "CustomerPostDelete",
    "CustomerPostDeleteData",
    "CustomerPostSave",
    "CustomerPostSaveData",
    "CustomerPostUpdate",
    "CustomerPostUpdateData",
    "Event",
    "Order",
    "OrderChanges",
    "OrderLine",
    "OrderPartial",
    "OrderPostDelete",
    "OrderPostDeleteData",
    "OrderPostSave",
    "OrderPostSaveData",
    "OrderPostUpdate",
    "OrderPostUpdateData",
    "OrderPreDelete",
    "OrderPreDeleteData",
    "OrderPreSave",
    "OrderPreSaveData",
    "OrderPreUpdate",
    "OrderPreUpdateData",
    "read_event",
]

T = TypeVar("T")


class Change(BaseModel, Generic[T]):
    """Both values of a changed field. `old` is missing in `model_fields_set` if unknown."""

    old: T | None = None
    new: T


class Event(BaseModel):
    """Attributes of CloudEvents 1.0. Further attributes are the event's context."""

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    # A UUIDv7. Two deliveries of an event have the same id.
    id: UUID
    # The service that published the event.
    source: str
    # service.Model.signal
    type: str
    time: dt.datetime
    schemaversion: Literal[1]
    # The primary key of the row, as text.
    subject: str | None = None
    # Rises from event to event of a row, within an incarnation.
    sequence: int | None = None
    # Rises when the publisher's database was restored. Compared before `sequence`.
    incarnation: int | None = None
    # The W3C trace context of the operation.
    traceparent: str | None = None
    # GROUP/RECEIVER: all other receivers skip the event.
    to: str | None = None
    # The event whose receiver wrote this event.
    causationid: UUID | None = None
    # The event repeats a row that existed before.
    backfill: bool | None = None
    # The event that this event is a copy of.
    replayof: UUID | None = None


class CustomerPartial(BaseModel):
    """Some fields of a row. In events of pre_* signals values may be null, and nobody has
    validated them.
    """

    id: int | None = None
    email: str | None = None


class CustomerGreetedData(BaseModel):
    instance: CustomerPartial | None = None
    # Keywords of a signal that the application sent.
    kwargs_: dict[str, JsonValue] | None = Field(default=None, validation_alias=AliasPath("kwargs"))


class CustomerGreeted(Event):
    type: Literal["shop.Customer.greeted"]
    data: CustomerGreetedData


class CustomerChanges(BaseModel):
    """The fields that an update changed. `old` is missing where nobody knows the value."""

    id: Change[int] | None = None
    email: Change[str] | None = None


class Customer(BaseModel):
    """Somebody who buys."""

    id: int
    # where bills go
    email: str


class CustomerPostDeleteData(BaseModel):
    # Whether the row existed before and exists after.
    is_update: bool | None = None
    changes: CustomerChanges | None = None
    # Fields that `instance` lacks, because they are too large.
    omitted: list[str] | None = None
    # Of an event that stands for a set: its rows.
    row_count: int | None = None
    values: CustomerPartial | None = None
    # Keywords of a signal that the application sent.
    kwargs_: dict[str, JsonValue] | None = Field(default=None, validation_alias=AliasPath("kwargs"))
    instance: Customer | None = None


class CustomerPostDelete(Event):
    type: Literal["shop.Customer.post_delete"]
    data: CustomerPostDeleteData


class CustomerPostSaveData(BaseModel):
    # Whether the row existed before and exists after.
    is_update: bool | None = None
    changes: CustomerChanges | None = None
    # Fields that `instance` lacks, because they are too large.
    omitted: list[str] | None = None
    # Of an event that stands for a set: its rows.
    row_count: int | None = None
    values: CustomerPartial | None = None
    # Keywords of a signal that the application sent.
    kwargs_: dict[str, JsonValue] | None = Field(default=None, validation_alias=AliasPath("kwargs"))
    instance: Customer | None = None


class CustomerPostSave(Event):
    type: Literal["shop.Customer.post_save"]
    data: CustomerPostSaveData


class CustomerPostUpdateData(BaseModel):
    # Whether the row existed before and exists after.
    is_update: bool | None = None
    changes: CustomerChanges | None = None
    # Fields that `instance` lacks, because they are too large.
    omitted: list[str] | None = None
    # Of an event that stands for a set: its rows.
    row_count: int | None = None
    values: CustomerPartial | None = None
    # Keywords of a signal that the application sent.
    kwargs_: dict[str, JsonValue] | None = Field(default=None, validation_alias=AliasPath("kwargs"))
    # The fields that the update wrote.
    assigned: list[str] | None = None
    instance: Customer | None = None


class CustomerPostUpdate(Event):
    type: Literal["shop.Customer.post_update"]
    data: CustomerPostUpdateData


class OrderLine(BaseModel):
    title: str
    count: int | None = None
    price: str | None = None
    parts: list[OrderLine] | None = None


class OrderChanges(BaseModel):
    """The fields that an update changed. `old` is missing where nobody knows the value."""

    id: Change[UUID] | None = None
    customer: Change[int] | None = None
    state: Change[Literal["new", "paid"]] | None = None
    size: Change[Literal["small", "large"]] | None = None
    kind: Change[str] | None = None
    total: Change[Decimal] | None = None
    weight: Change[float | None] | None = None
    number: Change[int] | None = None
    is_gift: Change[bool] | None = None
    note: Change[str | None] | None = None
    photo: Change[Base64Bytes] | None = None
    day: Change[dt.date] | None = None
    at: Change[dt.time] | None = None
    made: Change[dt.datetime] | None = None
    wait: Change[dt.timedelta] | None = None
    lines: Change[list[OrderLine]] | None = None
    pair: Change[tuple[int, str]] | None = None
    extra: Change[JsonValue] | None = None


class OrderPartial(BaseModel):
    """Some fields of a row. In events of pre_* signals values may be null, and nobody has
    validated them.
    """

    id: UUID | None = None
    customer: int | None = None
    state: Literal["new", "paid"] | None = None
    size: Literal["small", "large"] | None = None
    kind: str | None = None
    total: Decimal | None = None
    weight: float | None = None
    number: int | None = None
    is_gift: bool | None = None
    note: str | None = None
    photo: Base64Bytes | None = None
    day: dt.date | None = None
    at: dt.time | None = None
    made: dt.datetime | None = None
    wait: dt.timedelta | None = None
    lines: list[OrderLine] | None = None
    pair: tuple[int, str] | None = None
    extra: JsonValue | None = None


class Order(BaseModel):
    id: UUID
    customer: int
    state: Literal["new", "paid"]
    size: Literal["small", "large"]
    kind: str
    total: Decimal
    weight: float | None
    number: int
    is_gift: bool
    note: str | None
    photo: Base64Bytes
    day: dt.date
    at: dt.time
    made: dt.datetime
    wait: dt.timedelta
    lines: list[OrderLine]
    pair: tuple[int, str]
    extra: JsonValue


class OrderPostDeleteData(BaseModel):
    # Whether the row existed before and exists after.
    is_update: bool | None = None
    changes: OrderChanges | None = None
    # Fields that `instance` lacks, because they are too large.
    omitted: list[str] | None = None
    # Of an event that stands for a set: its rows.
    row_count: int | None = None
    values: OrderPartial | None = None
    # Keywords of a signal that the application sent.
    kwargs_: dict[str, JsonValue] | None = Field(default=None, validation_alias=AliasPath("kwargs"))
    instance: Order | None = None


class OrderPostDelete(Event):
    type: Literal["shop.Order.post_delete"]
    data: OrderPostDeleteData


class OrderPostSaveData(BaseModel):
    # Whether the row existed before and exists after.
    is_update: bool | None = None
    changes: OrderChanges | None = None
    # Fields that `instance` lacks, because they are too large.
    omitted: list[str] | None = None
    # Of an event that stands for a set: its rows.
    row_count: int | None = None
    values: OrderPartial | None = None
    # Keywords of a signal that the application sent.
    kwargs_: dict[str, JsonValue] | None = Field(default=None, validation_alias=AliasPath("kwargs"))
    instance: Order | None = None


class OrderPostSave(Event):
    type: Literal["shop.Order.post_save"]
    data: OrderPostSaveData


class OrderPostUpdateData(BaseModel):
    # Whether the row existed before and exists after.
    is_update: bool | None = None
    changes: OrderChanges | None = None
    # Fields that `instance` lacks, because they are too large.
    omitted: list[str] | None = None
    # Of an event that stands for a set: its rows.
    row_count: int | None = None
    values: OrderPartial | None = None
    # Keywords of a signal that the application sent.
    kwargs_: dict[str, JsonValue] | None = Field(default=None, validation_alias=AliasPath("kwargs"))
    # The fields that the update wrote.
    assigned: list[str] | None = None
    instance: Order | None = None


class OrderPostUpdate(Event):
    type: Literal["shop.Order.post_update"]
    data: OrderPostUpdateData


class OrderPreDeleteData(BaseModel):
    instance: OrderPartial | None = None
    values: OrderPartial | None = None
    is_update: bool | None = None
    # Keywords of a signal that the application sent.
    kwargs_: dict[str, JsonValue] | None = Field(default=None, validation_alias=AliasPath("kwargs"))


class OrderPreDelete(Event):
    type: Literal["shop.Order.pre_delete"]
    data: OrderPreDeleteData


class OrderPreSaveData(BaseModel):
    instance: OrderPartial | None = None
    values: OrderPartial | None = None
    is_update: bool | None = None
    # Keywords of a signal that the application sent.
    kwargs_: dict[str, JsonValue] | None = Field(default=None, validation_alias=AliasPath("kwargs"))


class OrderPreSave(Event):
    type: Literal["shop.Order.pre_save"]
    data: OrderPreSaveData


class OrderPreUpdateData(BaseModel):
    instance: OrderPartial | None = None
    values: OrderPartial | None = None
    is_update: bool | None = None
    # Keywords of a signal that the application sent.
    kwargs_: dict[str, JsonValue] | None = Field(default=None, validation_alias=AliasPath("kwargs"))


class OrderPreUpdate(Event):
    type: Literal["shop.Order.pre_update"]
    data: OrderPreUpdateData


AnyEvent = Annotated[
    CustomerGreeted
    | CustomerPostDelete
    | CustomerPostSave
    | CustomerPostUpdate
    | OrderPostDelete
    | OrderPostSave
    | OrderPostUpdate
    | OrderPreDelete
    | OrderPreSave
    | OrderPreUpdate,
    Field(discriminator="type"),
]

_EVENTS: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)

_TYPES = frozenset(
    {
        "shop.Customer.greeted",
        "shop.Customer.post_delete",
        "shop.Customer.post_save",
        "shop.Customer.post_update",
        "shop.Order.post_delete",
        "shop.Order.post_save",
        "shop.Order.post_update",
        "shop.Order.pre_delete",
        "shop.Order.pre_save",
        "shop.Order.pre_update",
    }
)


def read_event(head: str | bytes, data: str | bytes) -> AnyEvent | None:
    """Return the event of a stream entry, from its fields `head` and `data`.

    Returns None for a type of event that the contract did not have when this module was made.
    Raises ValueError, also as pydantic's ValidationError, for an event that breaks the contract.
    """
    attributes: Any = json.loads(head)
    if attributes.get("type") not in _TYPES:
        return None
    return _EVENTS.validate_python({**attributes, "data": json.loads(data)})
