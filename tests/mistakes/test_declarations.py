"""Mistakes in the declaration of a model: fields, annotations, `Meta` and names."""

from typing import Any

import pydantic

import edgy_bus as edgy
from tests.mistakes.telling import tells

# Fields


@tells("User.name has no annotation", do="name: str = edgy_bus.CharField(")
def test_a_field_without_an_annotation() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name = edgy.CharField(max_length=9)


@tells("User.owner has no annotation", do="owner: int = edgy_bus.ForeignKey(")
def test_a_foreign_key_without_an_annotation() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        owner = edgy.ForeignKey("self")


@tells("User.limit has no annotation", do="limit: ClassVar[int] = ")
def test_a_constant_in_the_class() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        limit = 3


@tells("User.name", where="is annotated but not a field", do="CharField(")
def test_a_plain_attribute() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str


@tells("User.name", where="is annotated but not a field", do="CharField(")
def test_a_field_of_pydantic() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = pydantic.Field(max_length=9)


@tells("User.name", where="CharField", do="CharField(max_length=…)")
def test_a_field_function_without_a_call() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField


@tells("CharField", do="max_length=")
def test_text_without_a_length() -> None:
    edgy.CharField()


@tells("CharField", do="CharField(max_length=…)")
def test_a_length_by_position() -> None:
    edgy.CharField(50)


@tells("max_length='50'", where="CharField", do="a whole number")
def test_a_length_of_text() -> None:
    edgy.CharField(max_length="50")


@tells("max_length=0", where="CharField", do="at least 1")
def test_a_length_of_nothing() -> None:
    edgy.CharField(max_length=0)


@tells("no option 'nul'", where="CharField", do="did you mean 'null'?")
def test_a_misspelt_option() -> None:
    edgy.CharField(max_length=9, nul=True)


@tells("no option 'blank'", where="CharField", do="null")
def test_an_option_of_django() -> None:
    edgy.CharField(max_length=9, blank=True)


@tells("null='no'", where="CharField", do="True or False")
def test_text_as_a_flag() -> None:
    edgy.CharField(max_length=9, null="no")


@tells("no option 'max_length'", where="IntegerField", do="CharField")
def test_an_option_of_another_field() -> None:
    edgy.IntegerField(max_length=9)


@tells("DecimalField", do="max_digits")
def test_a_decimal_without_digits() -> None:
    edgy.DecimalField()


@tells("max_digits=2", where="DecimalField", do="no more places than digits")
def test_more_places_than_digits() -> None:
    edgy.DecimalField(max_digits=2, decimal_places=3)


@tells("choices of a ChoiceField", do="at least one")
def test_no_choices() -> None:
    edgy.ChoiceField([])


@tells("'new'", where="ChoiceField", do='ChoiceField(("new", "…"))')
def test_choices_as_one_text() -> None:
    edgy.ChoiceField("new")


@tells("a primary key cannot be null", do="null")
def test_a_key_that_may_be_null() -> None:
    edgy.BigIntegerField(primary_key=True, null=True)


@tells("User.age", where="IntegerField contains int", do="write `age: int`")
def test_a_type_that_does_not_fit() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        age: str = edgy.IntegerField()


@tells("User.age is annotated with None", where="NOT NULL", do="add null=True")
def test_none_in_the_annotation_only() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        age: int | None = edgy.IntegerField()


@tells("User.age", where="default", do="int")
def test_a_default_of_another_type() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        age: int = edgy.IntegerField(default="three")


@tells("User.tags", where="is annotated with", do="list[str]")
def test_a_mutable_default() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        tags: list[str] = edgy.CharField(max_length=9, default=[])


@tells("User needs exactly one primary key and has 0", do="BigIntegerField(primary_key=True)")
def test_no_key(shop: edgy.Registry) -> None:
    class User(edgy.Model):
        name: str = edgy.CharField(max_length=9)

        class Meta:
            registry = shop


@tells("User needs exactly one primary key and has 2", do="unique_together")
def test_two_keys(shop: edgy.Registry) -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=9, primary_key=True)

        class Meta:
            registry = shop


# Names


@tells("User.save", where="Model has an attribute 'save'", do="save_")
def test_a_field_of_the_name_of_a_method() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        save: bool = edgy.BooleanField()


@tells("User.query", where="Model has an attribute 'query'", do="query_")
def test_a_field_of_the_name_query() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        query: str = edgy.TextField()


@tells("User._name", where="underscore", do="call the field 'name'")
def test_a_field_with_an_underscore(shop: edgy.Registry) -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        _name: str = edgy.CharField(max_length=9)

        class Meta:
            registry = shop


@tells("a model 'User' already", where="test_declarations", do="another name")
def test_two_models_of_one_name(shop: edgy.Registry) -> None:
    for _ in range(2):

        class User(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)

            class Meta:
                registry = shop


@tells("the table 'users'", where="Person", do="tablename")
def test_two_models_of_one_table(shop: edgy.Registry, User: Any) -> None:
    class Person(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = shop
            tablename = "users"


# Meta


@tells("User.Meta is a dict", do="class Meta:")
def test_meta_is_a_dictionary(shop: edgy.Registry) -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        Meta = {"registry": shop}


@tells("User.meta", do="class Meta")
def test_meta_in_lower_case(shop: edgy.Registry) -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class meta:
            pass


@tells("unknown option 'table_name'", where="User.Meta", do="did you mean 'tablename'?")
def test_a_misspelt_option_of_meta() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            table_name = "people"


@tells("unknown option 'ordering'", where="User.Meta", do="the options are")
def test_an_option_of_django_in_meta() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            ordering = ["id"]


@tells("User.Meta.registry is of Database", do="Registry(")
def test_a_database_as_registry(shop: edgy.Registry) -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = shop.database


@tells("User.Meta.registry", do="Registry(")
def test_the_class_of_registries() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = edgy.Registry


@tells("'emial'", where="User.Meta", do="did you mean 'email'?")
def test_a_misspelt_field_in_meta(shop: edgy.Registry) -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        email: str = edgy.EmailField()

        class Meta:
            registry = shop
            indexes = [("emial",)]


@tells("unique_together", where="User.Meta", do='[("email",)]')
def test_unique_together_as_one_text(shop: edgy.Registry) -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        email: str = edgy.EmailField()

        class Meta:
            registry = shop
            unique_together = "email"


@tells("'post_svae'", where="User.Meta.publish", do="did you mean 'post_save'?")
def test_a_misspelt_pattern_in_meta() -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            publish = ("post_svae",)


@tells("tablename", where="User.Meta", do="the name of a table")
def test_a_table_without_a_name(shop: edgy.Registry) -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = shop
            tablename = ""


@tells("User.Meta.abstract", do="True or False")
def test_abstract_as_text(shop: edgy.Registry) -> None:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = shop
            abstract = "no"


# Foreign keys


@tells("'Owner'", where="ForeignKey", do="ForeignKey(Owner)")
def test_a_foreign_key_by_name() -> None:
    edgy.ForeignKey("Owner")


@tells("Order.user is annotated with", where="User", do="user: int = edgy_bus.ForeignKey(User)")
def test_a_foreign_key_of_the_type_of_the_model(User: Any, shop: edgy.Registry) -> None:
    class Order(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        user: User = edgy.ForeignKey(User)

        class Meta:
            registry = shop


@tells("on_delete='cascade'", do="'CASCADE'")
def test_on_delete_in_lower_case(User: Any) -> None:
    edgy.ForeignKey(User, on_delete="cascade")


@tells("on_delete=SET_NULL", do="null=True")
def test_set_null_of_a_field_that_is_not_null(User: Any) -> None:
    edgy.ForeignKey(User, on_delete=edgy.SET_NULL)


@tells("Order.user refers to User of another registry", do="use one Registry")
def test_a_foreign_key_to_another_registry(User: Any, tmp_path: Any) -> None:
    class Order(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        user: int = edgy.ForeignKey(User)

        class Meta:
            registry = edgy.Registry(f"sqlite:///{tmp_path}/o.sqlite")


@tells("Note has no table", where="no registry", do="class Meta: registry = registry")
def test_a_foreign_key_to_a_model_without_a_registry() -> None:
    class Note(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

    edgy.ForeignKey(Note)


@tells("no option 'related_name'", where="ForeignKey", do="the options are")
def test_a_related_name(User: Any) -> None:
    edgy.ForeignKey(User, related_name="orders")


# The registry


@tells("the database URL has no scheme", do="sqlite:///")
def test_a_file_in_place_of_a_url() -> None:
    edgy.Registry("shop.sqlite")


@tells("Registry", where="int", do="sqlite:///")
def test_a_number_in_place_of_a_url() -> None:
    edgy.Registry(3)


@tells("bus", where="Registry", do="Bus(")
def test_a_url_in_place_of_a_bus(database_file: str) -> None:
    edgy.Registry(database_file, bus="redis://localhost")
