"""Declare models: the options of `class Meta`, the registry, and errors of wrong declarations."""

from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from pydantic import PydanticUserError

from edgy_bus import models as edgy
from edgy_bus.database import Database
from edgy_bus.errors import ModelError
from edgy_bus.signals import post_save
from tests.unit.models import declare_user


@pytest.fixture
def shop():
    return edgy.Registry("sqlite:///nowhere.sqlite")


def key() -> Any:
    return edgy.BigIntegerField(primary_key=True)


def columns_of(constraints):
    return sorted([column.name for column in one.columns] for one in constraints)


def test_a_table_is_named_after_its_model(shop):
    class UserProfile(edgy.Model):
        id: int = key()

        class Meta:
            registry = shop

    assert UserProfile.meta.name == "UserProfile"
    assert UserProfile.meta.tablename == UserProfile.meta.table.name == "userprofiles"


def test_a_table_can_be_named(shop):
    class Person(edgy.Model):
        id: int = key()

        class Meta:
            registry = shop
            tablename = "people"

    assert Person.meta.table.name == "people"
    assert Person.meta.table is shop.metadata.tables["people"]


def test_columns_are_made_from_the_fields(shop):
    class Person(edgy.Model):
        id: int = key()
        name: str = edgy.CharField(max_length=7, index=True)
        email: str = edgy.EmailField(unique=True)
        age: int | None = edgy.IntegerField(null=True)

        class Meta:
            registry = shop

    table = Person.meta.table
    assert [column.name for column in table.columns] == ["id", "name", "email", "age"]
    assert [column.nullable for column in table.columns] == [False, False, False, True]
    assert [column.primary_key for column in table.columns] == [True, False, False, False]
    assert table.c.name.type.length == 7
    assert columns_of(table.indexes) == [["name"]]
    assert table.c.email.unique
    assert Person.meta.pk == "id"


def test_the_key_need_not_be_called_id(shop):
    class Country(edgy.Model):
        code: str = edgy.CharField(max_length=2, primary_key=True)

        class Meta:
            registry = shop

    assert Country(code="ch").pk == "ch"
    assert Country.meta.pk == "code"


def test_fields_can_be_unique_and_indexed_together(shop):
    class Seat(edgy.Model):
        id: int = key()
        row: int = edgy.IntegerField()
        number: int = edgy.IntegerField()
        colour: str = edgy.CharField(max_length=9)

        class Meta:
            registry = shop
            unique_together = (("row", "number"),)
            indexes = ("colour", ["colour", "row"])

    table = Seat.meta.table
    assert columns_of(one for one in table.constraints if isinstance(one, sa.UniqueConstraint)) == [
        ["row", "number"]
    ]
    assert columns_of(table.indexes) == [["colour"], ["colour", "row"]]
    assert {one.name for one in table.indexes} == {"ix_seats_colour", "ix_seats_colour_row"}


@pytest.mark.parametrize("option", ["unique_together", "indexes"])
def test_an_option_that_names_an_unknown_field_is_refused(shop, option):
    with pytest.raises(
        ModelError, match=r"Seat\.Meta names a field 'nmuber' that the model does not have"
    ):

        class Seat(edgy.Model):
            id: int = key()

            class Meta:
                registry = shop
                locals()[option] = (("id", "nmuber"),)


def test_an_unknown_option_is_refused(shop):
    with pytest.raises(
        ModelError,
        match=r"Person\.Meta has an unknown option 'table_name': did you mean 'tablename'",
    ):

        class Person(edgy.Model):
            id: int = key()

            class Meta:
                registry = shop
                table_name = "people"

    assert shop.models == {}


def test_a_meta_that_is_no_class_is_refused(shop):
    with pytest.raises(ModelError, match=r"Person\.Meta is a dict: write `class Meta:`"):

        class Person(edgy.Model):
            id: int = key()
            Meta: ClassVar[dict[str, object]] = {"registry": shop}

    with pytest.raises(ModelError, match=r"Person\.meta is made from `class Meta`"):

        class Person(edgy.Model):  # type: ignore[no-redef]
            id: int = key()

            class meta:
                registry = shop

    assert shop.models == {}


def test_a_model_without_a_primary_key_is_refused(shop):
    with pytest.raises(
        ModelError, match="Person needs exactly one primary key and has 0"
    ) as caught:

        class Person(edgy.Model):
            name: str = edgy.CharField(max_length=9)

            class Meta:
                registry = shop

    assert "BigIntegerField(primary_key=True)" in str(caught.value)


def test_a_model_with_two_primary_keys_is_refused(shop):
    with pytest.raises(ModelError, match="Person needs exactly one primary key and has 2"):

        class Person(edgy.Model):
            id: int = key()
            code: str = edgy.CharField(max_length=9, primary_key=True)

            class Meta:
                registry = shop


def test_a_primary_key_cannot_be_null():
    with pytest.raises(ModelError, match="a primary key cannot be null"):
        edgy.IntegerField(primary_key=True, null=True)


def test_two_models_cannot_have_the_same_table(shop):
    declare_user(shop)
    with pytest.raises(
        ModelError, match="Person: another model of this registry has the table 'users' already"
    ):

        class Person(edgy.Model):
            id: int = key()

            class Meta:
                registry = shop
                tablename = "users"

    assert list(shop.models) == ["User"]


def test_two_registries_may_have_the_same_table(shop):
    one, other = declare_user(shop), declare_user(edgy.Registry("sqlite:///elsewhere.sqlite"))
    assert one.meta.table.name == other.meta.table.name
    assert one.meta.table is not other.meta.table


@pytest.mark.parametrize(
    "default", [{}, {"name": "Ada"}], ids=["without a default", "with a default"]
)
def test_an_annotated_attribute_that_is_not_a_field_is_refused(default):
    with pytest.raises(
        ModelError, match=r"Person\.name is annotated but not a field: write `name: str = "
    ):
        type(edgy.Model)(
            "Person",
            (edgy.Model,),
            {
                "__module__": __name__,
                "__annotations__": {"id": int, "name": str},
                "id": key(),
                **default,
            },
        )


def test_a_field_that_is_not_annotated_is_refused():
    with pytest.raises(PydanticUserError, match="'name' requires a type annotation"):

        class Person(edgy.Model):
            id: int = key()
            name = edgy.CharField(max_length=9)


def test_methods_and_properties_are_not_fields(shop):
    class Person(edgy.Model):
        id: int = key()
        name: str = edgy.CharField(max_length=9)

        class Meta:
            registry = shop

        @property
        def initial(self):
            return self.name[0]

    assert list(Person.meta.fields) == ["id", "name"]
    assert Person(name="Ada").initial == "A"


# Inheritance


def test_an_abstract_model_gives_its_fields_and_its_registry_but_has_no_table(shop):
    class Base(edgy.Model):
        id: int = key()
        note: str = edgy.CharField(max_length=9, default="")

        class Meta:
            registry = shop
            abstract = True

    class Person(Base):
        name: str = edgy.CharField(max_length=9)

    assert Person.meta.registry is shop
    assert not Person.meta.abstract
    assert list(Person.meta.fields) == ["id", "note", "name"]
    assert list(shop.models) == list({"Person": Person})
    assert list(shop.metadata.tables) == ["persons"]
    with pytest.raises(ModelError, match="Base has no table: it is abstract"):
        _ = Base.meta.table


def test_an_abstract_model_needs_no_primary_key(shop):
    class Named(edgy.Model):
        name: str = edgy.CharField(max_length=9)

        class Meta:
            registry = shop
            abstract = True

    assert list(Named.meta.fields) == ["name"]


def test_a_receiver_of_an_abstract_model_hears_of_its_children(shop):
    class Base(edgy.Model):
        id: int = key()

        class Meta:
            registry = shop
            abstract = True

    class Person(Base):
        pass

    @post_save(Base)
    async def receiver(sender, instance, **kwargs): ...

    assert [one.function for one in Person.meta.signals.post_save.receivers] == [receiver]


def test_a_child_of_a_table_has_a_table_of_its_own(shop):
    User = declare_user(shop)

    class Admin(User):
        level: int = edgy.IntegerField(default=1)

    assert Admin.meta.table.name == "admins"
    assert [*User.meta.fields, "level"] == list(Admin.meta.fields)
    assert Admin.meta.table.c.email is not User.meta.table.c.email
    assert "level" not in User.meta.table.c


# Registries


def test_a_model_without_a_registry_says_what_is_missing():
    User = declare_user()
    with pytest.raises(
        ModelError, match="User has no registry: add `class Meta: registry = registry` to it"
    ):
        _ = User.meta.registry
    with pytest.raises(ModelError, match="User has no table: it has no registry"):
        _ = User.meta.table


async def test_a_model_without_a_registry_cannot_be_saved():
    with pytest.raises(ModelError, match="User has no registry"):
        await declare_user()(name="Ada", email="ada@example.org").save()


def test_a_registry_knows_its_models_and_tells_of_those_that_come(shop):
    seen = []
    User = declare_user(shop)
    shop.on_model(seen.append)
    assert seen == [User]

    class Person(edgy.Model):
        id: int = key()

        class Meta:
            registry = shop

    assert seen == [User, Person]
    assert shop.models == {"User": User, "Person": Person}


def test_a_registry_attaches_itself_to_its_bus(sqlite_url):
    class Bus:
        def attach(self, registry):
            self.registry = registry

    bus, database = Bus(), Database(sqlite_url)
    registry = edgy.Registry(database, bus)
    assert bus.registry is registry
    assert registry.database is database


async def test_a_registry_creates_its_tables_and_drops_them(sqlite_url):
    async with edgy.Registry(sqlite_url) as registry:
        User = declare_user(registry)
        await registry.create_all()
        await User.query.create(name="Ada", email="ada@example.org")
        await registry.create_all()
        assert await User.query.count() == 1
        await registry.drop_all()
        with pytest.raises(Exception, match="no such table: users"):
            await User.query.count()
        await registry.create_all()
        assert await User.query.count() == 0
    assert not registry.database.is_connected


async def test_what_is_unique_together_is_unique_in_the_database(sqlite_url):
    async with edgy.Registry(sqlite_url) as shop:

        class Seat(edgy.Model):
            id: int = key()
            row: int = edgy.IntegerField()
            number: int = edgy.IntegerField()

            class Meta:
                registry = shop
                unique_together = (("row", "number"),)

        await shop.create_all()
        await Seat.query.bulk_create(
            [{"row": 1, "number": 1}, {"row": 1, "number": 2}, {"row": 2, "number": 1}]
        )
        with pytest.raises(Exception, match=r"UNIQUE constraint failed: seats\.row, seats\.number"):
            await Seat.query.create(row=1, number=2)
