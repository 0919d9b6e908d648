"""Sets of rows: how they are described, asked for, changed and deleted."""

import copy
import datetime as dt
import pickle
from decimal import Decimal

import pydantic
import pytest

from edgy_bus import models as edgy
from edgy_bus.errors import MultipleObjectsReturned, ObjectNotFound, OperationError
from tests.unit.models import declare_user, listen, tables


def declare_item(shop):
    class Item(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str | None = edgy.CharField(max_length=20, null=True)
        price: Decimal | None = edgy.DecimalField(max_digits=8, decimal_places=2, null=True)
        sold: dt.datetime | None = edgy.DateTimeField(null=True)

        class Meta:
            registry = shop

    return Item


UNCONNECTED = declare_item(edgy.Registry("sqlite:///nowhere.sqlite"))


@pytest.fixture
async def User(sqlite_url):
    async with tables(sqlite_url, declare_user) as model:
        yield model


@pytest.fixture
async def Item(sqlite_url):
    async with tables(sqlite_url, declare_item) as model:
        await model.query.bulk_create(
            [
                {"id": 1, "name": "Apple", "price": "9.50"},
                {"id": 2, "name": "pineapple", "price": "10.00"},
                {"id": 3, "name": "50% off_", "price": "-1"},
                {"id": 4, "name": "ÄPFEL", "sold": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)},
                {"id": 5},
            ]
        )
        yield model


LOOKUPS = [
    ({}, [1, 2, 3, 4, 5]),
    ({"name": "Apple"}, [1]),
    ({"name__exact": "Apple"}, [1]),
    ({"name": None}, [5]),
    ({"pk": 2}, [2]),
    ({"pk__in": [1, 2, 9]}, [1, 2]),
    ({"id__in": {4, 5}}, [4, 5]),
    ({"pk__in": []}, []),
    ({"name__iexact": "aPPLE"}, [1]),
    ({"name__iexact": "ÄPFEL"}, [4]),
    ({"name__contains": "eapp"}, [2]),
    ({"name__contains": "ppl"}, [1, 2]),
    ({"name__icontains": "APPLE"}, [1, 2]),
    ({"name__icontains": "ÄPF"}, [4]),
    ({"name__startswith": "pine"}, [2]),
    ({"name__contains": "%"}, [3]),
    ({"name__contains": "_"}, [3]),
    ({"name__icontains": "0%"}, [3]),
    ({"name__startswith": "_"}, []),
    ({"price__gt": Decimal("9.5")}, [2]),
    ({"price__gte": Decimal("9.5")}, [1, 2]),
    ({"price__lt": Decimal("9.5")}, [3]),
    ({"price__lte": Decimal("9.5")}, [1, 3]),
    ({"price__range": (Decimal(9), Decimal(10))}, [1, 2]),
    ({"price__isnull": True}, [4, 5]),
    ({"price__isnull": False}, [1, 2, 3]),
    ({"sold__gt": dt.datetime(2026, 1, 1, 23, tzinfo=dt.UTC)}, [4]),
    ({"sold": dt.datetime(2026, 1, 2, 2, tzinfo=dt.timezone(dt.timedelta(hours=2)))}, [4]),
    ({"name": "Apple", "price__gt": 100}, []),
]


async def keys(query):
    return [one.pk for one in await query.order_by("pk")]


# Describing


async def test_lookups(Item):
    found = [(lookups, await keys(Item.query.filter(**lookups))) for lookups, _ in LOOKUPS]
    assert found == LOOKUPS


async def test_filters_add_up_and_leave_the_set_that_they_narrow_as_it_is(Item):
    cheap = Item.query.filter(price__lt=10)
    assert await keys(cheap.filter(price__gt=0)) == [1]
    assert await keys(cheap) == [1, 3]


async def test_exclude_leaves_out_the_rows_for_which_everything_holds(Item):
    assert await keys(Item.query.exclude(name="Apple")) == [2, 3, 4, 5], (
        "a row without a name is not named Apple"
    )
    assert await keys(Item.query.exclude(name="Apple", price=0)) == [1, 2, 3, 4, 5]
    assert await keys(Item.query.exclude(price__isnull=True).exclude(pk=3)) == [1, 2]
    assert await keys(Item.query.exclude()) == [1, 2, 3, 4, 5]


# Describing a set needs neither a connection nor tables.


@pytest.mark.parametrize("describe", ["filter", "exclude"])
def test_an_unknown_field_is_an_error_that_says_which_there_are(describe):
    with pytest.raises(OperationError, match="Item has no field 'nmae': did you mean 'name'"):
        getattr(UNCONNECTED.query, describe)(nmae="Apple")


def test_an_unknown_lookup_is_an_error_that_says_which_there_are():
    with pytest.raises(
        OperationError,
        match="unknown lookup 'like' in 'name__like' of Item; the lookups are exact, iexact",
    ):
        UNCONNECTED.query.filter(name__like="A%")


def test_an_unknown_field_in_an_order_is_an_error():
    with pytest.raises(OperationError, match="Item has no field 'prize'"):
        UNCONNECTED.query.order_by("-prize")


async def test_rows_are_ordered_by_fields_upwards_and_downwards(Item):
    priced = Item.query.filter(price__isnull=False)
    assert [one.pk for one in await priced.order_by("price")] == [3, 1, 2]
    assert [one.pk for one in await priced.order_by("-price")] == [2, 1, 3]
    assert [one.pk for one in await Item.query.filter(pk__in=[4, 5, 1]).order_by("price", "-pk")][
        -1
    ] == 1


async def test_limit_and_offset_cut_the_ordered_rows(Item):
    ordered = Item.query.order_by("-pk")
    assert [one.pk for one in await ordered.limit(2)] == [5, 4]
    assert [one.pk for one in await ordered.limit(2).offset(1)] == [4, 3]
    assert [one.pk for one in await ordered.offset(3)] == [2, 1]
    assert await ordered.limit(0) == []


# Asking


async def test_a_set_can_be_awaited_iterated_and_asked_for_all(Item):
    query = Item.query.filter(pk__lt=3).order_by("pk")
    rows = await query
    assert [one.name for one in rows] == ["Apple", "pineapple"]
    assert rows == await query.all() == [one async for one in query]
    assert all(type(one) is Item for one in rows)


async def test_get_answers_the_one_row(Item):
    assert (await Item.query.get(pk=1)).name == "Apple"
    assert (await Item.query.filter(price__gt=0).get(name__startswith="pine")).pk == 2


async def test_get_finds_no_row(Item):
    with pytest.raises(ObjectNotFound, match=r"no Item with name, price__gt$"):
        await Item.query.get(name="Apple", price__gt=100)
    assert await Item.query.get_or_none(name="Eva") is None
    assert (await Item.query.get_or_none(name="Apple")).pk == 1


async def test_get_finds_several_rows(Item):
    with pytest.raises(MultipleObjectsReturned, match="more than one Item with price__gt"):
        await Item.query.get(price__gt=0)
    with pytest.raises(
        MultipleObjectsReturned, match="more than one Item with the given conditions"
    ):
        await Item.query.get_or_none()


async def test_first_follows_the_order_or_the_key(Item):
    assert (await Item.query.first()).pk == 1
    assert (await Item.query.order_by("-pk").first()).pk == 5
    assert await Item.query.filter(pk=9).first() is None


async def test_exists_and_count(Item):
    assert await Item.query.exists()
    assert await Item.query.exists(name="Apple")
    assert not await Item.query.exists(name="Eva")
    assert not await Item.query.filter(price__lt=0).exists(name="Apple")
    assert await Item.query.count() == 5
    assert await Item.query.filter(price__gt=0).count() == 2
    assert await Item.query.order_by("pk").limit(3).count() == 3


# Creating many


async def test_bulk_create_answers_the_rows_as_the_database_has_them(User):
    ada = User(name="Ada", email="ada@example.org")
    created = await User.query.bulk_create(
        [ada, {"name": "Bob", "email": "bob@example.org", "age": "17"}]
    )
    assert [(one.pk, one.name, one.age) for one in created] == [(1, "Ada", None), (2, "Bob", 17)]
    assert await User.query.order_by("pk") == created
    await created[0].update(name="Ada L.")
    assert await User.query.exists(name="Ada L.")


async def test_bulk_create_sends_the_signals_once_with_the_set(User):
    calls = listen(User, "pre_save", "post_save")
    rows = [{"name": name, "email": f"{name}@example.org"} for name in ("Ada", "Bob")]
    await User.query.bulk_create(rows)
    before, after = calls
    assert (before.signal, after.signal) == ("pre_save", "post_save")
    assert before.instance == after.instance == User.query
    assert before.kwargs["model_instance"] is None
    assert [values["name"] for values in before.kwargs["values"]] == ["Ada", "Bob"]
    assert (after.kwargs["row_count"], after.kwargs["keys"]) == (2, [1, 2])


async def test_bulk_create_of_nothing_does_nothing(User):
    calls = listen(User, "pre_save", "post_save")
    assert await User.query.bulk_create([]) == []
    assert calls == []


async def test_bulk_create_may_mix_given_and_generated_keys(Item):
    created = await Item.query.bulk_create([{"name": "a"}, {"id": 90, "name": "b"}, {"name": "c"}])
    assert [one.name for one in created] == ["a", "b", "c"]
    assert (await Item.query.get(name="b")).pk == 90


async def test_bulk_create_returns_rows_in_the_order_given_whatever_their_keys(Item):
    keys = [30, 10, 20, 40, 15]
    created = await Item.query.bulk_create([{"id": key, "name": f"n{key}"} for key in keys])
    assert [(one.pk, one.name) for one in created] == [(key, f"n{key}") for key in keys]


async def test_bulk_create_of_more_rows_than_a_statement_holds_is_all_or_nothing(User):
    rows = [{"name": "x", "email": f"{number}@example.org"} for number in range(1_126)]
    created = await User.query.bulk_create(rows)
    assert [one.email for one in created] == [row["email"] for row in rows]
    await User.query.delete()
    rows.append(rows[0])
    with pytest.raises(Exception, match="UNIQUE constraint failed"):
        await User.query.bulk_create(rows)
    assert await User.query.count() == 0


def declare_wilful(registry):
    class Base(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=5)

        class Meta:
            registry = edgy.Registry("sqlite:///nowhere.sqlite")
            abstract = True

    own = registry

    class WithInit(Base):
        def __init__(self, **values):
            super().__init__(**values)
            self.name = "too long"

        class Meta:
            registry = own

    class WithHook(Base):
        def model_post_init(self, context):
            super().model_post_init(context)
            self.name = "too long"

        class Meta:
            registry = own

    class WithValidator(Base):
        @pydantic.model_validator(mode="after")
        def lengthen(self):
            self.name = "too long"
            return self

        class Meta:
            registry = own

    class WithSave(Base):
        async def save(self, values=None):
            self.name = values["name"] if values else self.name * 2
            await super().save()

        class Meta:
            registry = own

    return {model.__name__: model for model in (WithInit, WithHook, WithValidator, WithSave)}


@pytest.mark.parametrize("name", ["WithInit", "WithHook", "WithValidator", "WithSave"])
async def test_create_validates_what_the_model_itself_has_changed(sqlite_url, name):
    async with tables(sqlite_url, declare_wilful) as models:
        with pytest.raises(pydantic.ValidationError, match="name"):
            await models[name].query.create(name="Ada")
        assert await models[name].query.count() == 0


async def test_create_saves_as_the_model_does_and_answers_the_instance(sqlite_url):
    async with tables(sqlite_url, declare_wilful) as models:
        created = await models["WithSave"].query.create(name="Al")
        assert created.name == "AlAl"
        assert (await models["WithSave"].query.get(pk=created.pk)).name == "AlAl"


async def test_bulk_create_validates(User):
    with pytest.raises(pydantic.ValidationError, match="email"):
        await User.query.bulk_create(
            [{"name": "Ada", "email": "ada@example.org"}, {"name": "Bob", "email": "bob"}]
        )
    ada = User(name="Ada", email="ada@example.org")
    ada.name = "x" * 21
    with pytest.raises(pydantic.ValidationError, match="name"):
        await User.query.bulk_create([ada])
    assert await User.query.count() == 0


# Changing and deleting sets


async def test_updating_a_set_changes_its_rows_and_answers_how_many(Item):
    assert await Item.query.filter(pk__in=[1, 2, 9]).update(price="2.00", name=None) == 2
    assert [(one.name, one.price) for one in await Item.query.filter(pk__lte=3).order_by("pk")] == [
        (None, Decimal("2.00")),
        (None, Decimal("2.00")),
        ("50% off_", Decimal("-1.00")),
    ]


async def test_updating_a_set_validates_its_values(Item):
    with pytest.raises(pydantic.ValidationError, match="name"):
        await Item.query.update(name="x" * 21)
    with pytest.raises(OperationError, match="Item has no field 'nmae'"):
        await Item.query.update(nmae="x")
    with pytest.raises(OperationError, match="the primary key 'id' cannot be changed"):
        await Item.query.update(id=1)
    assert await Item.query.filter(name="Apple").count() == 1


async def test_deleting_a_set_deletes_its_rows_and_answers_how_many(Item):
    assert await Item.query.filter(price__isnull=False).delete() == 3
    assert await keys(Item.query) == [4, 5]
    assert await Item.query.filter(pk=1).delete() == 0


async def test_a_set_that_is_cut_can_neither_be_changed_nor_deleted(Item):
    for query in (Item.query.limit(1), Item.query.offset(1), Item.query.limit(0)):
        with pytest.raises(OperationError, match="cannot update a set with a limit or an offset"):
            await query.update(name="x")
        with pytest.raises(OperationError, match="cannot delete a set with a limit or an offset"):
            await query.delete()
    assert await Item.query.filter(name="x").count() == 0
    assert await Item.query.count() == 5


# The set is no instance


def test_a_field_of_a_set_is_an_error_that_says_how_to_get_rows():
    query = UNCONNECTED.query
    with pytest.raises(OperationError, match="connect the receiver with rows=True"):
        query.price  # noqa: B018
    with pytest.raises(AttributeError, match="'price' a field of a row"):
        query.price = 1
    with pytest.raises(AttributeError, match="has no attribute 'fitler': did you mean 'filter'"):
        query.fitler(price=1)
    assert not hasattr(query, "price")
    assert copy.deepcopy(query.limit(2)).limited == 2
    assert pickle.loads(pickle.dumps(edgy.QuerySet(int, limited=2))).limited == 2


async def test_a_set_takes_lookups_wherever_it_is_read(Item):
    query = Item.query
    assert (await query.first(price__gt=9)).pk == 1
    assert (await query.last(price__gt=0)).pk == 2
    assert [one.pk for one in await query.all(pk__lt=3)] == [1, 2]
    assert await query.count(price__isnull=True) == 2
    assert await query.exists(pk=9) is False


async def test_a_limit_holds_for_whatever_is_read(Item):
    ordered = Item.query.order_by("pk")
    assert await ordered.limit(0).first() is None
    assert await ordered.limit(0).exists() is False
    assert (await ordered.limit(1).get()).pk == 1
    with pytest.raises(MultipleObjectsReturned):
        await ordered.limit(2).get()


@pytest.mark.parametrize("count", [-1, 1.5, "2", None])
def test_a_limit_is_a_number_of_rows(count):
    for method in (UNCONNECTED.query.limit, UNCONNECTED.query.offset):
        with pytest.raises(OperationError, match="write a whole number that is not negative"):
            method(count)


async def test_values_take_names_one_by_one_or_as_a_list(Item):
    query = Item.query.filter(pk__lt=3).order_by("pk")
    assert await query.values(["pk", "name"]) == await query.values("pk", "name")
    assert await query.values_list(("name",), flat=True) == ["Apple", "pineapple"]
    assert await query.values_list("name", "pk", "id") == [("Apple", 1, 1), ("pineapple", 2, 2)]
    for wrong in ([5], [["name"], ["pk"]], [{"name"}]):
        with pytest.raises(OperationError, match="fields are named by texts"):
            await query.values(*wrong)


def declare_note(shop):
    class Note(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        text: str = edgy.CharField(max_length=50, alias="t", default="")
        changed: dt.datetime = edgy.DateTimeField(auto_now=True)

        class Meta:
            registry = shop

        @pydantic.field_validator("text")
        @classmethod
        def shouted(cls, value):
            return f"{value}!"

    return Note


@pytest.fixture
async def Note(sqlite_url):
    async with tables(sqlite_url, declare_note) as model:
        yield model


async def test_a_set_takes_the_time_that_it_is_given(Note):
    then = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    await Note.query.create()
    await Note.query.update(changed=then)
    assert await Note.query.values_list("changed", flat=True) == [then]
    await Note.query.update(text="later")
    [row] = await Note.query.values("text", "changed")
    assert (row["text"], row["changed"] > then) == ("later!", True)


async def test_an_update_of_a_set_whose_values_a_receiver_takes_out_is_skipped(Note):
    await Note.query.create(t="a")

    async def take_out(sender, values, **kwargs):
        values.clear()

    Note.meta.signals.pre_update.connect(take_out)
    calls = listen(Note, "post_update")
    assert await Note.query.update(text="b") == 0
    [call] = calls
    assert (call.kwargs["operation_skipped"], call.kwargs["row_count"]) == (True, 0)
    assert await Note.query.values_list("text", flat=True) == ["a!"]


async def test_a_row_is_made_by_the_names_of_its_fields(Note):
    note, created = await Note.query.get_or_create(text="a!")
    assert (note.text, created) == ("a!!", True)
    assert (await Note.query.create(t="b")).text == "b!"


async def test_receivers_after_a_bulk_update_see_the_instances_as_they_are_written(Note):
    note = await Note.query.create(t="a")
    seen = []

    async def look(sender, **kwargs):
        seen.append(note.text)
        raise LookupError

    Note.meta.signals.post_update.connect(look)
    note.text = "b"
    with pytest.raises(LookupError):
        await Note.query.bulk_update([note], ["text"])
    assert seen == [note.text] == await Note.query.values_list("text", flat=True) == ["b!"]


async def test_no_order_is_asked_for_where_rows_are_counted(Note, monkeypatch):
    statements = []
    run = Note.meta.registry.database.run

    async def noted(statement, *arguments):
        statements.append(str(statement))
        return await run(statement, *arguments)

    monkeypatch.setattr(Note.meta.registry.database, "run", noted)
    ordered = Note.query.order_by("-text")
    assert await ordered.count() == 0
    assert not await ordered.exists()
    assert len(statements) == 2
    assert not any("ORDER BY" in statement for statement in statements)
