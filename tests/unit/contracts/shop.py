"""A service with every type of field, and with receivers of its own and of another service."""

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Any, Literal

import pydantic

import edgy_bus as edgy
from edgy_bus.contracts import Contract, model_contracts, receiver_contracts


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Line(pydantic.BaseModel):
    title: str
    count: int = 1
    price: Decimal | None = None
    parts: "list[Line]" = []


class Known(pydantic.BaseModel):
    id: int
    email: str


class Shop:
    """The bus, the registry and the models of the service `shop`."""

    def __init__(self, url: str | edgy.Database, broker: str = "memory://", **options: Any) -> None:
        self.bus = edgy.Bus(broker, service="shop", version="1.2", **options)
        self.registry = edgy.Registry(url, bus=self.bus)
        self.models()
        self.receivers()

    def models(self) -> None:
        own = self.registry

        class Customer(edgy.Model):
            """Somebody who buys."""

            id: int = edgy.BigIntegerField(primary_key=True)
            email: str = edgy.EmailField(description="where bills go")
            password: str = edgy.CharField(max_length=100, secret=True, default="hush")

            class Meta:
                registry = own
                publish = ("post_*", "greeted")

        Customer.meta.signals.greeted = edgy.Signal()

        class Order(edgy.Model):
            id: uuid.UUID = edgy.UUIDField(primary_key=True, default=uuid.uuid4)
            customer: int = edgy.ForeignKey(Customer)
            state: str = edgy.ChoiceField(["new", "paid"], default="new")
            size: Size = edgy.ChoiceField(Size, default=Size.SMALL)
            kind: Literal["a", "b"] = edgy.CharField(max_length=1, default="a")
            total: Decimal = edgy.DecimalField(max_digits=10, decimal_places=2, default=Decimal(1))
            weight: float | None = edgy.FloatField(null=True)
            number: int = edgy.IntegerField(default=1, ge=0)
            is_gift: bool = edgy.BooleanField(default=False)
            note: str | None = edgy.TextField(null=True)
            photo: bytes = edgy.BinaryField(default=b"\x00\xff")
            day: dt.date = edgy.DateField(default=dt.date(2026, 11, 1))
            at: dt.time = edgy.TimeField(default=dt.time(12, 30))
            made: dt.datetime = edgy.DateTimeField(auto_now_add=True)
            wait: dt.timedelta = edgy.DurationField(default=dt.timedelta(hours=1))
            lines: list[Line] = edgy.JSONField(default=list)
            pair: tuple[int, str] = edgy.JSONField(default=(1, "x"))
            extra: Any = edgy.JSONField(default=dict)

            class Meta:
                registry = own

        self.Customer, self.Order = Customer, Order

    def receivers(self) -> None:
        async def bill(sender: Any, instance: Any, **kwargs: Any) -> None: ...

        async def forget(sender: Any, instance: Any, **kwargs: Any) -> None: ...

        async def here(sender: Any, instance: Any, **kwargs: Any) -> None: ...

        edgy.signals.post_save(self.Order, name="bill", group="billing")(bill)
        edgy.signals.post_save(self.Order, local=True)(here)
        self.bus.receiver("accounts.User", "post_delete", name="forget", schema=Known)(forget)

    def contract(self) -> Contract:
        bus = self.bus
        return Contract(
            service=bus.service,
            version=bus.version,
            prefix=bus.prefix,
            partitions=bus.events.partitions,
            models=model_contracts(bus.service, bus.registries),
            receivers=receiver_contracts(bus.subscriptions()),
        )
