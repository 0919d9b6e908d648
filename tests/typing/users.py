"""Check the types that editors infer in a user's code. mypy reads this file; no test runs it."""

import datetime as dt
import enum
from decimal import Decimal
from typing import Annotated, Any, Literal, assert_type

import annotated_types
from pydantic import BaseModel, HttpUrl, SecretStr

import edgy_bus as edgy
from edgy_bus.signals import post_save

database = edgy.Database("sqlite:///never.sqlite")
bus = edgy.Bus(service="accounts")
registry = edgy.Registry(database, bus=bus)


class User(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    email: str = edgy.EmailField()
    age: int | None = edgy.IntegerField(null=True)

    class Meta:
        registry = registry


@post_save(User, retry=edgy.Retry(attempts=3), inbox=database)
async def welcome(sender: type[User], instance: User, **kwargs: Any) -> None:
    assert_type(instance.email, str)


@post_save([User], on_exhausted="hold", when_changed=("email",), where=lambda user: user.age > 3)
async def careful(sender: type[User], instance: User, **kwargs: Any) -> None: ...


# Field functions have closed options, and a rename of a keyword is an error of the checker.
edgy.CharField(max_length=9, frozen=True, validation_alias="a", deprecated=True, exclude=True)
edgy.TextField(pattern="a", json_schema_extra={"a": 1}, max_length=9)
edgy.CharField(max_length=9, secrett=True)  # type: ignore[call-arg]
edgy.IntegerField(ge=0, max_length=9)  # type: ignore[call-arg]
edgy.JSONField(primary_key=True)  # type: ignore[call-arg]
edgy.DurationField(null="yes")  # type: ignore[arg-type]


class Contract(BaseModel):
    email: str


@bus.receiver("accounts.User", "post_save", schema=Contract, group="mail", deadline=3)
async def mirrored(sender: str, instance: Contract, **kwargs: Any) -> None: ...


# A checker refuses what raises `SignalError`: each "ignore" below is an error if nothing is wrong.
post_save(User, retires=3)  # type: ignore[call-arg]
post_save(User, retry=3)  # type: ignore[arg-type]
post_save(User, on_exhausted="stop")  # type: ignore[arg-type]
post_save(User, when_changed=5)  # type: ignore[arg-type]
post_save(User, deadline="3")  # type: ignore[arg-type]
post_save(User, schema=Contract)  # type: ignore[call-arg]
bus.receiver("accounts.User", "post_save", local=True)  # type: ignore[call-arg]
bus.receiver("accounts.User", "post_save", schema=dict)  # type: ignore[type-var]
edgy.Options(retires=3)  # type: ignore[call-arg]
edgy.Options(batch=100)  # type: ignore[arg-type]


@bus.receiver("accounts.User", "post_save")
async def answered(sender: str, instance: Any, **kwargs: Any) -> object:
    return edgy.retry(after=3)


async def queries() -> None:
    assert_type(await User.query.get(id=1), User)
    assert_type(await User.query.get_or_none(id=1), User | None)
    assert_type(await User.query.first(), User | None)
    assert_type(await User.query.last(), User | None)
    assert_type(await User.query.create(email="a@b.c"), User)
    assert_type(await User.query.get_or_create(email="a@b.c"), tuple[User, bool])
    assert_type(await User.query.update_or_create({"age": 3}, email="a@b.c"), tuple[User, bool])
    assert_type(
        await User.query.filter(age__gte=3).exclude(id=1).order_by("-age").limit(3), list[User]
    )
    assert_type(await User.query.bulk_create([User(email="a@b.c"), {"email": "d@e.f"}]), list[User])
    assert_type(await User.query.values("email"), list[dict[str, Any]])
    assert_type(await User.query.count(), int)
    assert_type(await User.query.values(["email"]), list[dict[str, Any]])
    assert_type(await User.query.for_update(nowait=True).get(id=1), User)
    assert_type(await User.query.update(age=3), int)
    assert_type(await User.query.update(age=edgy.F("age") + 1), int)
    edgy.F("age") - None  # type: ignore[operator]
    User.query.fitler(age=3)  # type: ignore[attr-defined]
    async for user in User.query:
        assert_type(user, User)


async def instances() -> None:
    user = User(email="a@b.c")
    assert_type(await user.save(), User)
    assert_type(await user.update(age=3), User)
    assert_type(await user.delete(), int)
    assert_type(user.age, int | None)
    assert_type(User.meta.signals.post_save, edgy.Signal)
    assert_type(user.signals.post_save, edgy.Signal)


# A public name that does not exist is an error of the checker, though names are imported lazily.
misspelt = edgy.Buss  # type: ignore[attr-defined]

# A receiver keeps its own type.
assert_type(welcome.__name__, str)
assert_type(mirrored.__name__, str)


class Color(enum.Enum):
    RED = "red"


# Field functions have the type of the annotation, or of nothing that the column can store.
class Right(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    name: str = edgy.CharField(max_length=9)
    page: HttpUrl | None = edgy.CharField(max_length=200, null=True)
    color: Color = edgy.ChoiceField(Color)
    size: Literal["s", "m"] = edgy.ChoiceField(("s", "m"))
    hidden: SecretStr = edgy.CharField(max_length=9, secret=True)
    bounded: Annotated[int, annotated_types.Gt(0)] = edgy.IntegerField()
    price: Decimal = edgy.DecimalField(max_digits=9, decimal_places=2)
    born: dt.date | None = edgy.DateField(null=True)
    seen: dt.datetime = edgy.DateTimeField(auto_now=True)
    anything: Any = edgy.CharField(max_length=9)
    labels: dict[str, list[int]] = edgy.JSONField(default=dict)
    parent: int | None = edgy.ForeignKey("self", null=True)


class Wrong(edgy.Model):
    number: int = edgy.CharField(max_length=9)  # type: ignore[assignment]
    text: str = edgy.IntegerField()  # type: ignore[assignment]
    time: str = edgy.DateTimeField()  # type: ignore[assignment]
    money: str = edgy.DecimalField(max_digits=9, decimal_places=2)  # type: ignore[assignment]
    truth: str = edgy.BooleanField()  # type: ignore[assignment]
    owner: Right = edgy.ForeignKey(Right)  # type: ignore[assignment]


# A checker refuses receivers that a connection refuses, and those of another model.
async def right(sender: type[User], instance: User, **kwargs: Any) -> None: ...
async def changed(
    sender: type[User], instance: User, changes: dict[str, Any] | None, event: edgy.Event, **_: Any
) -> None: ...
async def batch(
    sender: type[User], instances: list[User], events: list[edgy.Event], **kwargs: Any
) -> None: ...
async def without_kwargs(sender: type[User], instance: User) -> None: ...
async def of_another_model(sender: type[Right], instance: Right, **kwargs: Any) -> None: ...
async def of_another_event(sender: Any, instance: User, event: str, **kwargs: Any) -> None: ...
def blocking(sender: type[User], instance: User, **kwargs: Any) -> None: ...


class Mailer:
    async def on_save(self, sender: type[User], instance: User, **kwargs: Any) -> None: ...


post_save(User)(right)
post_save([User, Right])(right)
post_save(User)(changed)
post_save(User, batch=edgy.Batch(size=9))(batch)
post_save(User)(Mailer().on_save)
edgy.post_delete(User)(post_save(User)(right))
post_save(User)(without_kwargs)  # type: ignore[arg-type]
post_save(User)(of_another_model)  # type: ignore[arg-type]
post_save(User)(of_another_event)  # type: ignore[arg-type]
post_save(User)(blocking)  # type: ignore[arg-type]
post_save(User)("right")  # type: ignore[arg-type]
post_save(User(email="a@b.c"))  # type: ignore[arg-type]
post_save("accounts.User")  # type: ignore[arg-type]
post_save(User, Right)  # type: ignore[arg-type]
bus.receiver("accounts.User", "post_save")(right)
bus.receiver("accounts.User", "post_save", schema=Contract)(mirrored)
bus.receiver("accounts.User", "post_save", schema=Contract)(right)  # type: ignore[arg-type]
bus.receiver(User, "post_save")  # type: ignore[arg-type]
