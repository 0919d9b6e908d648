"""Declare models: wrong declarations are refused with the remedy, unusual right ones work."""

import datetime as dt
import enum
import ipaddress
import uuid
import warnings
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Generic, Literal, Optional, TypeVar

import pydantic
import pytest
import sqlalchemy as sa

from edgy_bus import models as edgy
from edgy_bus.errors import ModelError
from edgy_bus.signals import Signal
from tests.unit.models import tables

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"


class Other(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Settings(pydantic.BaseModel):
    theme: str = "dark"


class Hidden(pydantic.BaseModel):
    password: pydantic.SecretStr


class Opaque:
    """A class that pydantic does not know."""


@pytest.fixture
def shop() -> edgy.Registry:
    return edgy.Registry("sqlite:///nowhere.sqlite")


def declare(
    fields: dict[str, tuple[Any, Any]],
    *bases: Any,
    name: str = "Item",
    key: bool = True,
    **meta: Any,
) -> Any:
    """Declare a model with these fields: an annotation and the result of a field function."""
    own = {"id": (int, edgy.BigIntegerField(primary_key=True))} if key else {}
    declared = {**own, **fields}
    place = {"__module__": __name__, "__qualname__": f"{name}.Meta"}
    body = {
        "__module__": __name__,
        "__qualname__": name,
        "__annotations__": {field: annotation for field, (annotation, _) in declared.items()},
        **{field: made for field, (_, made) in declared.items()},
    }
    if meta:
        body["Meta"] = type("Meta", (), {**meta, **place})
    return type(edgy.Model)(name, bases or (edgy.Model,), body)


def declare_field(annotation: Any, made: Any) -> Any:
    return declare({"value": (annotation, made)}).meta.fields["value"]


# Options


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: edgy.CharField(max_length=9, secrett=True), "did you mean 'secret'"),
        (lambda: edgy.CharField(max_lenght=9), "CharField has no option 'max_lenght': did you"),
        (lambda: edgy.TextField(max_len=9), "did you mean 'max_length'"),
        (lambda: edgy.IntegerField(max_length=9), "IntegerField has no option 'max_length'"),
        (lambda: edgy.IntegerField(autoincrement=True), "the options are primary_key, default"),
        (lambda: edgy.DateField(auto_now=True), "DateField has no option 'auto_now'"),
        (lambda: edgy.DateTimeField(auto_now_ad=True), "did you mean 'auto_now_add'"),
        (lambda: edgy.JSONField(primary_key=True), "JSONField has no option 'primary_key'"),
        (lambda: edgy.ForeignKey("self", on_delte="CASCADE"), "did you mean 'on_delete'"),
        (lambda: edgy.BooleanField(default_factory=bool), "did you mean 'default'"),
    ],
)
def test_a_misspelt_option_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        make()


def test_options_of_pydantic_stay() -> None:
    Item = declare(
        {
            "name": (str, edgy.CharField(max_length=9, min_length=2, pattern="^a", frozen=True)),
            "age": (int, edgy.IntegerField(ge=18, lt=100, multiple_of=2, strict=True, alias="old")),
            "note": (
                str,
                edgy.TextField(
                    default="",
                    max_length=3,
                    title="Note",
                    description="d",
                    examples=["x"],
                    exclude=True,
                    repr=False,
                    json_schema_extra={"a": 1},
                    validation_alias="n",
                    serialization_alias="N",
                    deprecated="old",
                ),
            ),
        }
    )
    item = Item(name="ab", old=20)
    assert item.age == 20
    assert "note" not in item.model_dump()
    for wrong in (
        {"name": "a"},
        {"name": "ba"},
        {"name": "a" * 10},
        {"old": 17},
        {"old": 100},
        {"old": "20"},
        {"n": "long"},
    ):
        with pytest.raises(pydantic.ValidationError):
            Item(**{"name": "ab", "old": 20, **wrong})
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        item.name = "abc"


def test_limits_of_the_application_and_of_the_column_hold_both() -> None:
    Item = declare({"small": (int, edgy.IntegerField(ge=-(2**40), le=2**40))})
    for wrong in (2**31, -(2**31) - 1):
        with pytest.raises(pydantic.ValidationError):
            Item(small=wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: edgy.CharField(max_length=9, primary_key=True, secret=True),
        lambda: edgy.UUIDField(primary_key=True, default=None),
        lambda: edgy.IntegerField(primary_key=True, null=True),
        lambda: edgy.DecimalField(max_digits=2, decimal_places=3),
        lambda: edgy.DecimalField(max_digits=0, decimal_places=0),
    ],
)
def test_options_that_contradict_each_other_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ModelError):
        make()


# Annotations


@pytest.mark.parametrize(
    ("annotation", "made", "message"),
    [
        (float, edgy.IntegerField(), r"but IntegerField contains int: .*or use FloatField"),
        (str, edgy.IntegerField(), "or use CharField"),
        (bool, edgy.IntegerField(), "or use BooleanField"),
        (dt.timedelta, edgy.IntegerField(), r"or use DurationField\(\)"),
        (dt.timedelta, edgy.FloatField(), r"or use DurationField\(\)"),
        (Color, edgy.IntegerField(), "contains int"),
        (int, edgy.FloatField(), "contains float"),
        (float, edgy.DecimalField(max_digits=9, decimal_places=2), "or use FloatField"),
        (Decimal, edgy.FloatField(), r"or use DecimalField\("),
        (int, edgy.CharField(max_length=9), r"write `value: str`, or use IntegerField\(\)"),
        (bytes, edgy.CharField(max_length=9), "or use BinaryField"),
        (Level, edgy.CharField(max_length=9), "contains str"),
        (Any, edgy.CharField(max_length=9), r"write `value: str`$"),
        (object, edgy.DateField(), r"write `value: datetime\.date`"),
        (str | int, edgy.TextField(), "contains str"),
        (Settings, edgy.TextField(), r"or use JSONField\(\)"),
        (list[str], edgy.TextField(), r"or use JSONField\(\)"),
        (pydantic.SecretStr, edgy.IntegerField(), "contains int"),
        (pydantic.SecretBytes, edgy.TextField(), "contains str"),
        (str, edgy.UUIDField(), r"write `value: uuid\.UUID`"),
        (str, edgy.DateField(), r"write `value: datetime\.date`"),
        (dt.datetime, edgy.DateField(), r"or use DateTimeField"),
        (dt.date, edgy.DateTimeField(), r"or use DateField"),
        (pydantic.NaiveDatetime, edgy.DateTimeField(), r"write `value: datetime\.datetime`"),
        (str, edgy.BinaryField(), "contains bytes"),
        (Other, edgy.ChoiceField(Color), "contains .*Color"),
        (Opaque, edgy.JSONField(), "which pydantic cannot read"),
        (Hidden, edgy.JSONField(), "a secret inside JSON would be stored as asterisks"),
        (list[pydantic.SecretStr], edgy.JSONField(), "asterisks"),
        (T, edgy.IntegerField(), "which is no type yet"),
        (Optional[int], edgy.IntegerField(), "its column is NOT NULL: add null=True"),  # noqa: UP045
        (int | None, edgy.ForeignKey("self"), "its column is NOT NULL"),
        (str, edgy.ForeignKey("self"), r'write `value: int = edgy_bus\.ForeignKey\("self"\)`'),
    ],
)
def test_an_annotation_that_does_not_fit_is_refused(
    annotation: Any, made: Any, message: str
) -> None:
    with pytest.raises(ModelError, match=rf"Item\.value.*{message}"):
        declare_field(annotation, made)


@pytest.mark.parametrize(
    ("annotation", "made", "stored"),
    [
        (Level, edgy.IntegerField(), sa.Integer),
        (Color, edgy.CharField(max_length=9), sa.String),
        (ipaddress.IPv6Address, edgy.TextField(), sa.Text),
        (dt.timedelta, edgy.TextField(), sa.Text),
        (Color | None, edgy.ChoiceField(Color, null=True), sa.String),
        (Settings, edgy.JSONField(), sa.JSON),
    ],
)
def test_an_annotation_with_a_form_in_the_column_is_converted(
    annotation: Any, made: Any, stored: Any
) -> None:
    field = declare_field(annotation, made)
    assert isinstance(field.column_type.stored, stored)
    assert field.conversion.load is not None


@pytest.mark.parametrize(
    ("annotation", "made"),
    [
        (int, edgy.BigIntegerField()),
        (pydantic.PositiveInt, edgy.IntegerField()),
        (Literal[1, 2], edgy.IntegerField()),
        (str, edgy.ChoiceField(Color)),
        (Literal["a"] | Literal["b"], edgy.TextField()),
        (int | None, edgy.IntegerField(null=True)),
        (int, edgy.IntegerField(null=True)),
        (dt.datetime | None, edgy.DateTimeField(auto_now=True)),
        (pydantic.FutureDatetime, edgy.DateTimeField()),
        (uuid.UUID, edgy.UUIDField()),
    ],
)
def test_a_natural_annotation_costs_no_conversion(annotation: Any, made: Any) -> None:
    assert declare_field(annotation, made).conversion is None


def test_a_secret_annotation_makes_a_secret_field() -> None:
    Item = declare({"password": (pydantic.SecretStr, edgy.CharField(max_length=9))})
    assert Item.meta.public == ("id",)
    assert "password" not in repr(Item(password="hush"))


def test_a_secret_annotation_makes_no_key() -> None:
    with pytest.raises(ModelError, match=r"Item\.code .* a primary key cannot be secret"):

        class Item(edgy.Model):
            code: pydantic.SecretStr = edgy.CharField(max_length=9, primary_key=True)


def test_values_of_enums_are_stored_where_the_model_uses_values() -> None:
    class Item(edgy.Model):
        model_config = pydantic.ConfigDict(use_enum_values=True)

        id: int = edgy.BigIntegerField(primary_key=True)
        color: Color = edgy.ChoiceField(Color)
        level: Level = edgy.IntegerField()

    item = Item(color=Color.RED, level=1)
    assert (item.color, item.level) == ("red", 1)
    assert Item.meta.fields["color"].conversion is None


@pytest.mark.parametrize(
    ("annotation", "made", "value"),
    [
        (dt.time, edgy.TimeField(), dt.time(1, tzinfo=dt.UTC)),
        (
            dt.datetime,
            edgy.DateTimeField(),
            dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-1))),
        ),
        (
            dt.datetime,
            edgy.DateTimeField(),
            dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=1))),
        ),
        (dt.timedelta, edgy.DurationField(), dt.timedelta(days=99_420, microseconds=1)),
        (Color, edgy.CharField(max_length=2), Color.RED),
        (pydantic.HttpUrl, edgy.CharField(max_length=12), "https://example.org"),
        (pydantic.SecretStr, edgy.CharField(max_length=2), "long"),
    ],
)
def test_a_value_that_the_column_cannot_store_is_refused(
    annotation: Any, made: Any, value: Any
) -> None:
    Item = declare({"value": (annotation, made)})
    with pytest.raises(pydantic.ValidationError, match="value"):
        Item(value=value)


# Names


NEEDED = [
    *[name for name in vars(edgy.Model) if not name.startswith("_")],
    *("meta", "query", "model_dump", "model_fields", "model_validate", "self"),
]


@pytest.mark.parametrize("name", sorted({*NEEDED} - {"model_config"}))
def test_a_field_with_the_name_of_something_that_models_need_is_refused(name: str) -> None:
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(ModelError, match=rf"Item\.{name}: Model has an attribute '{name}'"),
    ):
        declare({name: (str, edgy.CharField(max_length=9))})


def test_a_field_of_a_mixin_has_no_such_name_either() -> None:
    class Named:
        signals: str = edgy.CharField(max_length=9)

    with pytest.raises(ModelError, match=r"Item\.signals"):
        declare({}, Named, edgy.Model)


GOOD_NAMES = ["metadata", "type", "copy", "json", "dict", "sender", "instance", "registry"]


@pytest.mark.parametrize("name", [*GOOD_NAMES, "objects", "values", "a__b", "in", "schema"])
async def test_other_names_work(name: str, sqlite_url: str) -> None:
    def declare_item(own: edgy.Registry) -> Any:
        with warnings.catch_warnings(action="ignore"):
            return declare({name: (str, edgy.CharField(max_length=9))}, registry=own)

    async with tables(sqlite_url, declare_item) as Item:
        item = await Item.query.create(**{name: "v"})
        await item.update(**{name: "w"})
        assert await Item.query.filter(**{name: "w", f"{name}__in": ["w"]}).count() == 1
        loaded = await Item.query.get(pk=item.pk)
        assert loaded.field_values() == {"id": item.pk, name: "w"}


# Meta


def test_options_are_inherited_from_all_parents(shop: edgy.Registry) -> None:
    fields = {name: (int, edgy.IntegerField()) for name in ("a", "b")}
    common = {"abstract": True, "registry": shop}
    First = declare(fields, name="First", **common, unique_together=[("a", "b")], publish="post_*")
    Second = declare(
        {"c": (int, edgy.IntegerField())}, name="Second", key=False, **common, indexes=["c"]
    )
    Item = declare({}, First, Second, name="Item", key=False)
    table = Item.meta.table
    uniques = [part for part in table.constraints if isinstance(part, sa.UniqueConstraint)]
    assert [list(part.columns.keys()) for part in uniques] == [["a", "b"]]
    assert [list(index.columns.keys()) for index in table.indexes] == [["c"]]
    assert Item.meta.publish == ("post_*",)
    assert not Item.meta.abstract


def test_meta_may_be_derived_from_the_meta_of_a_parent(shop: edgy.Registry) -> None:
    class Base(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        a: int = edgy.IntegerField()

        class Meta:
            registry = shop
            abstract = True
            tablename = "bases"
            indexes = ("a",)

    class Item(Base):
        class Meta(Base.Meta):
            unique_together = ("a",)

    class Bare(Base):
        class Meta(Base.Meta):
            indexes = ()

    assert (Item.meta.table.name, Bare.meta.table.name) == ("items", "bares")
    assert len(Item.meta.table.indexes) == 1
    assert not Bare.meta.table.indexes


def test_a_generic_base_gives_its_fields_with_their_types(shop: edgy.Registry) -> None:
    class Keyed(edgy.Model, Generic[T]):
        id: int = edgy.BigIntegerField(primary_key=True)
        data: T = edgy.JSONField()

        class Meta:
            registry = shop

    class Item(Keyed[Settings]):
        pass

    class Other(Keyed[list[dt.date]]):
        pass

    assert list(shop.models) == ["Item", "Other"]
    assert Item.meta.fields["data"].annotation is Settings
    assert Other(data=["2020-01-01"]).data == [dt.date(2020, 1, 1)]


def test_a_mixin_gives_its_fields(shop: edgy.Registry) -> None:
    class Stamped:
        created: dt.datetime = edgy.DateTimeField(auto_now_add=True)

    class Item(Stamped, edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = shop

    assert set(Item.meta.table.c.keys()) == {"id", "created"}


@pytest.mark.parametrize(
    ("publish", "meant"), [("pots_*", "post_*"), ("post_svae", "post_save"), ("*_updat", "")]
)
def test_a_pattern_that_is_misspelt_is_refused(publish: str, meant: str) -> None:
    with pytest.raises(ModelError, match=f"matches no signal: did you mean '{meant}"):
        declare({}, publish=publish)


def test_a_pattern_of_a_signal_that_is_declared_later_is_taken() -> None:
    Item = declare({}, publish=["post_*", "on_lock"])
    Item.meta.signals.on_lock = Signal()
    assert Item.meta.publish == ("post_*", "on_lock")


# Registries and references


def test_a_second_model_of_one_name_is_refused(shop: edgy.Registry) -> None:
    declare({}, name="Item", registry=shop)
    with pytest.raises(ModelError, match=r"has a model 'Item' already, .*makes a new Registry"):
        declare({}, name="Item", registry=shop, tablename="others")
    assert list(shop.metadata.tables) == ["items"]
    declare({}, name="Item", registry=edgy.Registry("sqlite:///nowhere.sqlite"))


def test_a_reference_to_another_registry_is_refused(shop: edgy.Registry) -> None:
    Far = declare({}, name="Far", registry=edgy.Registry("sqlite:///far.sqlite"))
    with pytest.raises(ModelError, match=r"Item\.far refers to Far of another registry"):
        declare({"far": (int, edgy.ForeignKey(Far))}, registry=shop)


def test_a_reference_is_annotated_with_the_type_of_the_key(shop: edgy.Registry) -> None:
    Team = declare({}, name="Team", registry=shop)
    message = r"write `team: int \| None = edgy_bus\.ForeignKey\(Team\)`"
    with pytest.raises(ModelError, match=message):
        declare({"team": (Team | None, edgy.ForeignKey(Team, null=True))}, registry=shop)


KEYS = {
    "uuid": (uuid.UUID, lambda: edgy.UUIDField(primary_key=True, default=uuid.uuid4)),
    "text": (str, lambda: edgy.CharField(max_length=9, primary_key=True)),
    "small": (int, lambda: edgy.IntegerField(primary_key=True)),
    "enum": (Color, lambda: edgy.ChoiceField(Color, primary_key=True)),
    "address": (ipaddress.IPv4Address, lambda: edgy.TextField(primary_key=True)),
}


@pytest.mark.parametrize("kind", KEYS)
def test_references_have_the_column_of_the_key(shop: edgy.Registry, kind: str) -> None:
    annotation, make = KEYS[kind]
    key = {"key": (annotation, make())}
    parent = {"parent": (Optional[annotation], edgy.ForeignKey("self", null=True))}  # noqa: UP045
    Node = declare({**parent, **key}, name="Node", key=False, registry=shop)
    Leaf = declare({"node": (annotation, edgy.ForeignKey(Node))}, name="Leaf", registry=shop)
    column = Node.meta.table.c.key.type
    assert Node.meta.table.c.parent.type is column
    assert Leaf.meta.table.c.node.type is column


def test_a_reference_to_itself_takes_instances_of_its_own_class_only(shop: edgy.Registry) -> None:
    class Tree(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        parent: int | None = edgy.ForeignKey("self", null=True)

        class Meta:
            registry = shop
            abstract = True

    class Page(Tree):
        pass

    class Folder(Tree):
        pass

    for wrong in (2**63, -(2**63) - 1):
        with pytest.raises(pydantic.ValidationError, match="parent"):
            Page(parent=wrong)
    assert Page(parent=Page.from_row({"id": 7, "parent": None})).parent == 7
    assert Folder(parent=Folder.from_row({"id": 8, "parent": None})).parent == 8
    for wrong in (Folder(id=7), Page()):
        with pytest.raises(pydantic.ValidationError, match="parent"):
            Page(parent=wrong)


def test_a_registry_is_a_registry() -> None:
    with pytest.raises(ModelError, match=r"Item\.Meta\.registry is of str"):
        declare({}, registry="sqlite:///nowhere.sqlite")
