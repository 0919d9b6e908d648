"""Mistakes in operations on rows: values, lookups, transactions, forgotten `await`."""

import asyncio
import gc
import pickle
from typing import Any

import pytest

import edgy_bus as edgy
from tests.mistakes.telling import PLAIN, tells

# Before a connection


@tells("not connected", where="the database", do="use `async with database:`")
async def test_a_save_before_the_connection(User: Any) -> None:
    await User(email="ada@example.org").save()


@tells("not connected", where="the database", do="use `async with database:`")
async def test_a_query_before_the_connection(User: Any) -> None:
    await User.query.get(id=1)


@tells("no such table: users", where="users", do="create_all()")
async def test_no_table(User: Any) -> None:
    async with User.meta.registry:
        await User(email="ada@example.org").save()


@tells("no such table: users", where="users", do="create_all()")
async def test_a_query_without_a_table(User: Any) -> None:
    async with User.meta.registry:
        await User.query.all()


# Forgotten words


@tells("coroutine 'Model.save' was never awaited", where="Model.save", do="await")
async def test_a_save_without_await(users: Any) -> None:
    users(email="ada@example.org").save()
    gc.collect()


@tells("'coroutine' object is not iterable", where="ReadableSet.all", do="never awaited")
async def test_a_for_without_async(users: Any) -> None:
    for _ in users.query.all():
        pass


@tells("is read asynchronously", where="User", do="async for")
async def test_a_for_over_a_set(users: Any) -> None:
    for _ in users.query:
        pass


@tells("has no length", where="User", do="await User.query.count()")
async def test_the_length_of_a_set(users: Any) -> None:
    len(users.query)


@tells("has no truth value", where="User", do="if await User.query.exists()")
async def test_the_truth_of_a_set(users: Any) -> None:
    if users.query.filter(email="ada@example.org"):
        raise AssertionError("the set is empty")


@tells("'coroutine' object is not subscriptable", where="ReadableSet.all", do="never awaited")
async def test_the_first_of_a_set(users: Any) -> None:
    users.query.all()[0]


@tells("has no index", where="User", do="limit(")
async def test_a_slice_of_a_set(users: Any) -> None:
    users.query[:10]


@tells("`query` belongs to the class", do="write User.query")
async def test_a_query_of_an_instance(users: Any) -> None:
    users(email="ada@example.org").query


@tells("no attribute 'objects'", where="User", do="its rows are User.query")
async def test_objects_of_django(users: Any) -> None:
    users.objects.all()


# Instances


@tells("emial", where="User", do="Extra inputs are not permitted")
async def test_a_misspelt_field_of_a_new_instance(users: Any) -> None:
    users(emial="ada@example.org")


@tells("emial", where="User", do="Extra inputs are not permitted")
async def test_a_misspelt_field_of_create(users: Any) -> None:
    await users.query.create(emial="ada@example.org")


@tells("email", where="User", do="Field required")
async def test_a_missing_field(users: Any) -> None:
    users()


@tells("age", where="User", do="valid integer")
async def test_a_value_of_another_type(users: Any) -> None:
    users(email="ada@example.org", age="old")


@tells('has no field "emial"', where="User", do=PLAIN)
async def test_a_misspelt_attribute(users: Any) -> None:
    users(email="ada@example.org").emial = "eve@example.org"


@tells("takes 1 positional argument but 2 were given", where="__init__", do=PLAIN)
async def test_values_by_position(users: Any) -> None:
    users("ada@example.org")


@tells("no field 'emial'", where="User", do="did you mean 'email'?")
async def test_a_misspelt_field_of_update(users: Any) -> None:
    user = await users.query.create(email="ada@example.org")
    await user.update(emial="eve@example.org")


@tells("takes 1 positional argument but 2 were given", where="Model.update", do=PLAIN)
async def test_an_update_with_a_dictionary(users: Any) -> None:
    user = await users.query.create(email="ada@example.org")
    await user.update({"email": "eve@example.org"})


@tells("cannot update a User that was never saved", do="save")
async def test_an_update_of_a_new_instance(users: Any) -> None:
    await users(email="ada@example.org").update(age=3)


@tells("cannot delete a User that was never saved", do="save")
async def test_a_delete_of_a_new_instance(users: Any) -> None:
    await users(email="ada@example.org").delete()


@tells("the primary key 'id' cannot be changed", do="create another")
async def test_a_new_key(users: Any) -> None:
    user = await users.query.create(email="ada@example.org")
    await user.update(id=7)


@tells("not there any more", where="User with id 1", do=PLAIN)
async def test_a_save_of_a_row_that_is_gone(users: Any) -> None:
    user = await users.query.create(email="ada@example.org")
    await users.query.delete()
    await user.save()


@tells("unexpected keyword argument 'age'", where="Model.save", do=PLAIN)
async def test_a_save_with_keywords(users: Any) -> None:
    user = await users.query.create(email="ada@example.org")
    await user.save(age=3)


@tells("unexpected keyword argument 'commit'", where="Model.save", do=PLAIN)
async def test_a_save_of_django(users: Any) -> None:
    await users(email="ada@example.org").save(commit=False)


# Lookups


@tells("no field 'emial'", where="User", do="did you mean 'email'?")
async def test_a_misspelt_field_of_a_filter(users: Any) -> None:
    await users.query.filter(emial="ada@example.org")


@tells("unknown lookup 'contians'", where="email__contians", do="did you mean 'contains'?")
async def test_a_misspelt_lookup(users: Any) -> None:
    await users.query.filter(email__contians="ada")


@tells("unknown lookup 'contians'", where="email__contians", do="did you mean 'contains'?")
def test_a_misspelt_lookup_is_refused_at_the_call(User: Any) -> None:
    User.query.filter(email__contians="ada")


@tells("the given str is no value of int", where="User.age", do=PLAIN)
async def test_text_for_a_number(users: Any) -> None:
    await users.query.filter(age="old")


@tells("in takes a list of values", where="User.id", do="not a int")
async def test_a_number_in_place_of_a_list(users: Any) -> None:
    await users.query.filter(id__in=3)


@tells("takes a list of values", where="User.id", do="await it first")
async def test_a_list_that_is_not_awaited(users: Any) -> None:
    keys = users.query.values_list("id", flat=True)
    try:
        await users.query.filter(id__in=keys)
    finally:
        keys.close()


@tells("takes 1 positional argument but 2 were given", where=".filter", do=PLAIN)
async def test_a_key_by_position(users: Any) -> None:
    await users.query.filter(3)


@tells("takes 1 positional argument but 2 were given", where=".get", do=PLAIN)
async def test_get_by_position(users: Any) -> None:
    await users.query.get(3)


@tells("no User with id", do=PLAIN)
async def test_get_of_a_missing_row(users: Any) -> None:
    await users.query.get(id=3)


@tells("more than one User", where="with age", do=PLAIN)
async def test_get_of_several_rows(users: Any) -> None:
    await users.query.bulk_create([{"email": f"a{n}@b.c", "age": 3} for n in range(2)])
    await users.query.get(age=3)


@tells("no attribute 'fitler'", do="did you mean 'filter'?")
def test_a_misspelt_method(User: Any) -> None:
    User.query.fitler(id=1)


@tells("no field 'nmae'", where="User", do="it has")
def test_a_misspelt_order(User: Any) -> None:
    User.query.order_by("-nmae")


@tells("limit('3')", do="a whole number")
def test_text_as_limit(User: Any) -> None:
    User.query.limit("3")


@tells("cannot delete a set with a limit", do="filter by primary key")
async def test_a_delete_of_a_limited_set(users: Any) -> None:
    await users.query.limit(3).delete()


@tells("do not follow foreign keys", where="'user__email' of Order", do="with `__in`")
async def test_a_lookup_over_a_relation(orders: Any) -> None:
    await orders.query.filter(user__email="ada@example.org")


@tells("takes 1 positional argument but 2 were given", where="QuerySet.update", do=PLAIN)
async def test_an_update_of_a_set_with_a_dictionary(users: Any) -> None:
    await users.query.filter(id=1).update({"age": 3})


@tells("no field 'agee'", where="the table users", do="did you mean 'age'?")
async def test_an_expression_of_a_missing_field(users: Any) -> None:
    await users.query.update(age=edgy.F("agee") + 1)


@tells("bulk_create takes instances of User and dicts", do="not a str")
async def test_bulk_create_of_texts(users: Any) -> None:
    await users.query.bulk_create(["ada@example.org"])


@tells("takes a list of User rows", where="bulk_create", do="create(…) for a single row")
async def test_bulk_create_of_one_instance(users: Any) -> None:
    await users.query.bulk_create(users(email="ada@example.org"))


# Foreign keys


@pytest.fixture
async def orders(users: Any) -> Any:
    shop = users.meta.registry

    class Order(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        user: int = edgy.ForeignKey(users)

        class Meta:
            registry = shop

    await shop.create_all()
    return Order


@tells("never saved and has no key", where="user", do="save it first")
async def test_an_unsaved_owner(users: Any, orders: Any) -> None:
    await orders(user=users(email="ada@example.org")).save()


@tells("an instance of Order is no key of User", where="user", do=PLAIN)
async def test_an_owner_of_another_model(users: Any, orders: Any) -> None:
    user = await users.query.create(email="ada@example.org")
    order = await orders.query.create(user=user)
    await orders(user=order).save()


@tells("FOREIGN KEY constraint failed", where="save of Order", do=PLAIN)
async def test_an_owner_that_does_not_exist(orders: Any) -> None:
    await orders(user=99).save()


@tells("'int' object has no attribute 'email'", do=PLAIN)
async def test_a_key_in_place_of_the_owner(users: Any, orders: Any) -> None:
    user = await users.query.create(email="ada@example.org")
    order = await orders.query.create(user=user)
    order.user.email


@tells("is not a foreign key", where="Order.usr", do="did you mean 'user'?")
async def test_a_misspelt_relation(users: Any, orders: Any) -> None:
    user = await users.query.create(email="ada@example.org")
    order = await orders.query.create(user=user)
    await order.related("usr")


@tells("FOREIGN KEY constraint failed", where="delete of User", do=PLAIN)
async def test_a_delete_of_an_owner(users: Any, orders: Any) -> None:
    user = await users.query.create(email="ada@example.org")
    await orders.query.create(user=user)
    await user.delete()


# Transactions, tasks and loops


@tells("transaction", where="another task", do="await")
async def test_a_task_in_a_transaction(users: Any) -> None:
    async with users.meta.registry.database.transaction():
        await asyncio.gather(users(email="a@b.c").save(), users(email="d@e.f").save())


@tells("does not support the context manager", where="'Transaction'", do=PLAIN)
async def test_a_plain_with_of_a_transaction(users: Any) -> None:
    with users.meta.registry.database.transaction():
        pass


@tells("on_commit() needs an open transaction", do="`async with database.transaction():`")
async def test_on_commit_outside_of_a_transaction(users: Any) -> None:
    users.meta.registry.database.on_commit(lambda: None)


@tells("another event loop", where="database", do="own")
async def test_two_event_loops(users: Any) -> None:
    await asyncio.to_thread(asyncio.run, users.query.count())


@tells("isolation cannot be set", where="inside an open transaction", do="set it on the outermost")
async def test_isolation_inside(users: Any) -> None:
    database = users.meta.registry.database
    async with database.transaction(), database.transaction(isolation="serializable"):
        pass


@pytest.mark.xfail(strict=True, reason="silent: the connection of a task that ended is only lost")
@tells("left open", where="transaction", do="async with")
async def test_a_transaction_that_is_left_open(users: Any) -> None:
    async def forget() -> None:
        await users.meta.registry.database.transaction()
        await users(email="ada@example.org").save()

    await asyncio.create_task(forget())
    gc.collect()
    await asyncio.sleep(0.1)
    assert await users.query.count() == 0


class Plain(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)


@tells("the copy is equal", where="Plain", do="the row")
def test_a_pickle(User: Any) -> None:
    copy = pickle.loads(pickle.dumps(Plain(id=3)))
    assert copy == Plain(id=3)
    return "the copy is equal: Plain: the row"
