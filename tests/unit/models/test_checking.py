"""Validation: once for each value that the application gives, against the whole row."""

import copy
import pickle
from typing import Annotated, Any

import pydantic
import pytest
from pydantic import AfterValidator, ConfigDict, PrivateAttr, field_validator, model_validator
from pydantic.alias_generators import to_camel

from edgy_bus import models as edgy
from edgy_bus.errors import OperationError
from edgy_bus.models.checking import checker_of
from edgy_bus.models.state import BLANK, state_of
from edgy_bus.signals import pre_save, pre_update
from edgy_bus.sources.expressions import Expression
from tests.unit.models import tables


def declare_account(shop=None, **config: Any):
    class Account(edgy.Model):
        model_config = ConfigDict(**config)
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=50, default="nobody")
        password: str = edgy.CharField(max_length=50, default="hash(x)", secret=True)
        price: int = edgy.IntegerField(default=0)
        tags: list[str] = edgy.JSONField(default=list)

        class Meta:
            registry = shop

        @field_validator("password")
        @classmethod
        def hashed(cls, value):
            return f"hash({value})"

        @field_validator("price", mode="before")
        @classmethod
        def pence(cls, value):
            return int(float(value) * 100)

        @field_validator("tags", mode="before")
        @classmethod
        def split(cls, value):
            return value.split(",")

    return Account


GIVEN = {"password": "secret", "price": "1.50", "tags": "a,b"}
HELD = {"password": "hash(secret)", "price": 150, "tags": ["a", "b"]}


def held(account: Any) -> dict[str, Any]:
    return {name: getattr(account, name) for name in HELD}


async def in_database(model: Any, key: Any) -> dict[str, Any]:
    [row] = await model.query.filter(pk=key).values(*HELD)
    return row


@pytest.fixture
async def Account(sqlite_url):
    async with tables(sqlite_url, declare_account) as model:
        yield model


# Once


async def test_what_is_given_to_a_new_row_is_validated_once(Account):
    account = Account(**GIVEN)
    await account.save()
    created = await Account.query.create(**GIVEN)
    bulk = await Account.query.bulk_create([GIVEN, Account(**GIVEN)])
    got, _ = await Account.query.get_or_create(GIVEN, name="got")
    made, _ = await Account.query.update_or_create(GIVEN, name="made")
    for row in (account, created, *bulk, got, made):
        assert held(row) == HELD
        assert await in_database(Account, row.pk) == HELD


async def test_values_of_the_database_are_not_validated_again(Account):
    account = await Account.query.create(**GIVEN)
    loaded = await Account.query.get(pk=account.pk)
    for row in (account, loaded):
        row.name = f"{row.name}!"
        await row.save()
        await row.save()
        await row.update(name="Ada")
        await Account.query.bulk_update([row], ["name", "password", "price", "tags"])
        assert await in_database(Account, row.pk) == HELD
    await Account.query.update(name="Eva")
    assert await in_database(Account, account.pk) == HELD
    await account.delete()
    await account.save()
    assert await in_database(Account, account.pk) == HELD
    account.id = None
    await account.save()
    assert await in_database(Account, account.pk) == HELD


@pytest.mark.parametrize("listened", [False, True])
async def test_what_is_given_to_a_row_is_validated_once(Account, listened):
    if listened:

        @pre_update(Account)
        @pre_save(Account)
        async def look(sender, instance, values, **kwargs):
            pass

    account = await Account.query.create()
    assert held(account) == {"password": "hash(x)", "price": 0, "tags": []}
    await account.update(**GIVEN)
    assert held(account) == HELD
    for name, value in GIVEN.items():
        setattr(account, name, value)
    await account.save()
    assert held(account) == HELD
    await account.save(GIVEN)
    assert held(account) == HELD
    await Account.query.update(**GIVEN)
    assert await in_database(Account, account.pk) == HELD
    for name, value in GIVEN.items():
        setattr(account, name, value)
    await Account.query.bulk_update([account], list(GIVEN))
    assert await in_database(Account, account.pk) == HELD


async def test_what_receivers_give_is_validated_once(Account):
    @pre_update(Account)
    @pre_save(Account)
    async def change(sender, instance, values, **kwargs):
        instance.password = "secret"
        values["price"] = "1.50"
        values["tags"] = "a,b"

    account = await Account.query.create()
    assert held(account) == HELD
    await account.update(name="Eva")
    assert held(account) == HELD
    await account.save()
    assert await in_database(Account, account.pk) == HELD


async def test_a_value_that_equals_the_default_is_given(Account):
    account = Account()
    account.password = "hash(x)"
    await account.save()
    assert account.password == "hash(hash(x))"


async def test_a_list_that_is_changed_in_place_is_given(sqlite_url):
    def declare(shop):
        class Box(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            tags: list[str] = edgy.JSONField(default=list)

            class Meta:
                registry = shop

            @field_validator("tags")
            @classmethod
            def short(cls, value):
                if len(value) > 2:
                    raise ValueError("too many")
                return value

        return Box

    async with tables(sqlite_url, declare) as Box:
        new = Box()
        new.tags.extend("abc")
        with pytest.raises(pydantic.ValidationError, match="too many"):
            await new.save()
        new.tags.pop()
        await new.save()
        new.tags.append("d")
        with pytest.raises(pydantic.ValidationError, match="too many"):
            await new.save()


async def test_an_assignment_that_is_validated_at_once_is_not_validated_again(sqlite_url):
    def declare(shop):
        return declare_account(shop, validate_assignment=True)

    async with tables(sqlite_url, declare) as Account:
        account = await Account.query.create(**GIVEN)
        for row in (account, await Account.query.get(pk=account.pk), Account()):
            for name, value in GIVEN.items():
                setattr(row, name, value)
            assert held(row) == HELD
            await row.save()
            assert held(row) == HELD
            await row.save(GIVEN)
            assert held(row) == HELD
            row.password = "new"
            await row.update(name="Eva")
            assert (row.password, (await in_database(Account, row.pk))["password"]) == (
                "hash(new)",
                "hash(secret)",
            )
            await row.save()
            assert (await in_database(Account, row.pk))["password"] == "hash(new)"


async def test_an_instance_that_pydantic_passes_through_is_not_validated_by_that(Account):
    account = await Account.query.create(**GIVEN)
    account.password = "plain"
    assert Account.model_validate(account) is account
    await account.save()
    assert account.password == "hash(plain)"


async def test_an_instance_made_without_validation_is_validated_when_it_is_saved(Account):
    account = Account.model_construct(name="x" * 51, **GIVEN)
    assert state_of(account) is BLANK
    with pytest.raises(pydantic.ValidationError, match="name"):
        await account.save()
    account.name = "Ada"
    await account.save()
    assert held(account) == HELD


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda one: one.model_copy()])
async def test_a_copy_knows_what_its_original_knows(Account, make):
    new = Account(**GIVEN)
    account = make(new)
    await account.save()
    assert held(account) == HELD
    assert new.pk is None
    saved = make(account)
    await saved.update(name="Eva")
    assert (account.name, saved.name) == ("nobody", "Eva")
    changed = saved.model_copy(update={"password": "new"})
    await changed.save()
    assert changed.password == "hash(new)"


def test_a_pickled_instance_knows_what_its_original_knows():
    for instance in (Pickled(name="a"), Pickled.from_row({"id": 1, "name": "a"})):
        read = pickle.loads(pickle.dumps(instance))
        assert read.__dict__ == instance.__dict__
        before, after = state_of(instance), state_of(read)
        assert (before.saved, before.row, before.validated) == (
            after.saved,
            after.row,
            after.validated,
        )


class Pickled(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    name: str = edgy.CharField(max_length=5)


# Defaults


async def test_a_default_is_not_seen_by_validators(sqlite_url):
    def declare(shop):
        class Thing(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            name: Annotated[str, AfterValidator(str.upper)] = edgy.CharField(
                max_length=5, default="abc"
            )
            price: float = edgy.FloatField(default="1.5")

            class Meta:
                registry = shop

        return Thing

    async with tables(sqlite_url, declare) as Thing:
        thing = await Thing.query.create()
        assert (thing.name, thing.price) == ("abc", 1.5)
        assert (await Thing.query.create(name="abc")).name == "ABC"


async def test_a_default_that_the_application_changed_in_place_is_validated(Account):
    account = Account()
    account.tags.append("x")
    with pytest.raises(AttributeError, match="split"):
        await account.save()


# Rules of the whole row


def declare_stay(shop=None):
    class Stay(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        low: int = edgy.IntegerField()
        high: int = edgy.IntegerField()
        calls: int = edgy.IntegerField(default=0)
        _seen: int = PrivateAttr(0)

        class Meta:
            registry = shop

        @model_validator(mode="after")
        def in_order(self):
            if self.high < self.low:
                raise ValueError("high is below low")
            return self

        @field_validator("high")
        @classmethod
        def below_limit(cls, value, info):
            if value > info.data["low"] + 100:
                raise ValueError("too far from low")
            return value

        def model_post_init(self, context):
            self._seen = self.high

    return Stay


@pytest.fixture
async def Stay(sqlite_url):
    async with tables(sqlite_url, declare_stay) as model:
        yield model


async def test_a_rule_sees_the_whole_row(Stay):
    stay = await Stay.query.create(low=10, high=20)
    for values in ({"high": 5}, {"low": 25}, {"high": 111}):
        with pytest.raises(pydantic.ValidationError):
            await stay.update(**values)
        with pytest.raises(pydantic.ValidationError):
            await stay.save(values)
        broken = (await Stay.query.get(pk=1)).model_copy(update=values)
        with pytest.raises(pydantic.ValidationError):
            await Stay.query.bulk_update([broken], list(values))
        with pytest.raises(pydantic.ValidationError):
            await broken.save()
        assert (stay.low, stay.high) == (10, 20)
    await stay.update(low=200, high=250)
    assert (await Stay.query.get(pk=1)).high == 250


async def test_a_rule_sees_the_row_and_not_what_is_unsaved(Stay):
    stay = await Stay.query.create(low=10, high=20)
    stay.low = 15
    await stay.update(high=12)
    assert (stay.low, stay.high) == (15, 12)
    with pytest.raises(pydantic.ValidationError, match="high is below low"):
        await stay.save()


async def test_a_receiver_may_complete_a_change(Stay):
    @pre_update(Stay)
    async def move(sender, instance, values, **kwargs):
        values["high"] = values["low"] + 10

    stay = await Stay.query.create(low=10, high=20)
    await stay.update(low=50)
    assert stay.high == 60


async def test_a_receiver_cannot_break_a_rule(Stay):
    @pre_update(Stay)
    async def move(sender, instance, values, **kwargs):
        values["high"] = 0

    stay = await Stay.query.create(low=10, high=20)
    with pytest.raises(pydantic.ValidationError, match="high is below low"):
        await stay.update(calls=1)
    assert stay.high == 20


async def test_a_set_is_updated_field_by_field(Stay):
    await Stay.query.create(low=10, high=20)
    await Stay.query.update(high=5)
    assert (await Stay.query.get(pk=1)).high == 5, "no row is known, so no rule can be held"
    with pytest.raises(pydantic.ValidationError, match="too far from low"):
        await Stay.query.update(low=1, high=102)
    with pytest.raises(pydantic.ValidationError, match="high"):
        await Stay.query.update(high="much")


def test_an_update_of_a_set_calls_no_factory_and_no_rule():
    calls = []

    class Thing(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        name: str = edgy.CharField(max_length=5, default=lambda: calls.append("factory") or "x")
        slug: str = edgy.CharField(max_length=5, default=lambda data: data["name"])
        size: int = edgy.IntegerField(default=0)

        @field_validator("size", mode="wrap")
        @classmethod
        def wrapped(cls, value, handler, info):
            return handler(value) + len(info.data["name"])

        @field_validator("slug", mode="before")
        @classmethod
        def before(cls, value, info):
            return f"{value}{info.data.get('name', '-')}"

        @model_validator(mode="before")
        @classmethod
        def rule(cls, data):
            calls.append("rule")
            return data

    assert Thing.checked_values({"slug": "a", "size": "3"}) == {"slug": "a-", "size": 3}
    assert Thing.checked_values({"name": "ab", "size": 3}) == {"name": "ab", "size": 5}
    assert calls == []


def test_a_misspelt_name_in_a_validator_is_an_error_for_a_set_too():
    class Thing(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        size: int = edgy.IntegerField()

        @field_validator("size")
        @classmethod
        def check(cls, value, info):
            return info.data["szie"]

    with pytest.raises(KeyError, match="szie"):
        Thing.checked_values({"size": 3})


async def test_factories_are_called_for_new_rows_only(sqlite_url):
    calls = []

    def declare(shop):
        class Thing(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            code: str = edgy.CharField(max_length=5, default=lambda: calls.append(1) or "x")
            name: str = edgy.CharField(max_length=5)

            class Meta:
                registry = shop

            @model_validator(mode="after")
            def rule(self):
                return self

        return Thing

    async with tables(sqlite_url, declare) as Thing:
        thing = await Thing.query.create(name="a")
        assert len(calls) == 1
        thing.name = "b"
        await thing.save()
        await thing.update(name="c")
        await Thing.query.bulk_update([thing], ["name"])
        await Thing.query.update(name="d")
        await (await Thing.query.get(pk=1)).save()
        assert len(calls) == 1


async def test_a_rule_that_changes_the_row_changes_what_save_writes(sqlite_url):
    def declare(shop):
        class Page(edgy.Model):
            id: int = edgy.BigIntegerField(primary_key=True)
            title: str = edgy.CharField(max_length=20)
            slug: str = edgy.CharField(max_length=20, default="")
            runs: int = edgy.IntegerField(default=0)

            class Meta:
                registry = shop

            @model_validator(mode="after")
            def derive(self):
                self.slug = self.title.lower()
                self.runs += 1
                return self

        return Page

    async with tables(sqlite_url, declare) as Page:
        page = await Page.query.create(title="One")
        assert (page.slug, page.runs) == ("one", 1), "the rule runs once for a new row"
        page.title = "Two"
        await page.save()
        assert (page.slug, page.runs) == ("two", 2)
        await page.save()
        assert page.runs == 2, "nothing was given"
        await page.update(title="Three")
        assert (page.title, page.slug) == ("Three", "two"), "an update writes its own fields"


async def test_an_expression_for_the_database_is_not_validated(Stay):
    class More(Expression):
        pass

    more = More()
    assert Stay.checked_values({"high": more, "low": "3"}) == {"high": more, "low": 3}


# Aliases


@pytest.mark.parametrize("by_name", [False, True])
async def test_rows_have_the_names_of_the_fields(sqlite_url, by_name):
    def declare(shop):
        class Camel(edgy.Model):
            model_config = ConfigDict(alias_generator=to_camel, populate_by_name=by_name)
            id: int = edgy.BigIntegerField(primary_key=True)
            first_name: str = edgy.CharField(max_length=50)
            kind: str = edgy.CharField(max_length=5, alias="type", default="a")

            class Meta:
                registry = shop

            @model_validator(mode="after")
            def rule(self):
                if self.first_name == self.kind:
                    raise ValueError("the same")
                return self

        return Camel

    async with tables(sqlite_url, declare) as Camel:
        camel = Camel.model_validate_json('{"firstName": "Ada", "type": "x"}')
        await camel.save()
        await camel.update(first_name="Bob")
        camel.kind = "y"
        await camel.save()
        await Camel.query.update(kind="z")
        await Camel.query.bulk_update([camel], ["kind"])
        assert (await Camel.query.get(pk=1)).model_dump(by_alias=True) == {
            "id": 1,
            "firstName": "Bob",
            "type": "y",
        }
        with pytest.raises(pydantic.ValidationError, match="the same"):
            await camel.update(kind="Bob")


# The validators themselves


def test_a_trusted_value_is_taken_as_it_is_and_an_equal_one_is_not():
    checker = checker_of(declare_account())
    row = {"id": 1, "name": "a", "password": "b" * 2, "price": 1, "tags": []}
    assert checker.row(row, row) == row
    assert checker.row({**row, "password": "new"}, row)["password"] == "hash(new)"


def test_a_model_that_refers_to_itself_is_validated():
    class Node(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        children: "list[Node] | None" = edgy.JSONField(null=True)

    Node.model_rebuild(_types_namespace={"Node": Node})
    node = Node(id=1, children=[{"id": 2}])
    assert isinstance(node.children[0], Node)
    checker = checker_of(Node)
    values = {"id": 1, "children": [{"id": 3, "children": None}]}
    assert checker.row(values, {})["children"][0].id == 3
    assert checker.parts({"children": None}) == {"children": None}


def test_a_wrong_name_is_refused_before_anything_else():
    with pytest.raises(OperationError, match="did you mean 'price'"):
        declare_account().checked_values({"prize": 3})
