"""Mistakes in a receiver: its signature, its options, and what it is connected to."""

import datetime as dt
import functools
from typing import Any

import edgy_bus as edgy
from edgy_bus import post_save, pre_save
from tests.mistakes.telling import PLAIN, tells

# The function


@tells("must take **kwargs", where="no_kwargs", do="**kwargs")
def test_no_kwargs(User: Any) -> None:
    @post_save(User)
    async def no_kwargs(sender, instance): ...


@tells("must be async", where="blocking", do="`async def`")
def test_a_sync_function(User: Any) -> None:
    @post_save(User)
    def blocking(sender, instance, **kwargs): ...


@tells("`sender` as its first parameter", where="instance_first", do="async def receiver(sender")
def test_the_instance_comes_first(User: Any) -> None:
    @post_save(User)
    async def instance_first(instance, **kwargs): ...


@tells("must take `sender`", where="nothing", do="async def receiver(sender, instance, **kwargs)")
def test_no_parameter(User: Any) -> None:
    @post_save(User)
    async def nothing(): ...


@tells("requires `created`", where="as_in_django", do="is_update")
def test_a_keyword_of_django(User: Any) -> None:
    @post_save(User)
    async def as_in_django(sender, instance, created, **kwargs): ...


@tells("requires `instace`", where="misspelt", do="did you mean 'instance'?")
def test_a_misspelt_keyword(User: Any) -> None:
    @post_save(User)
    async def misspelt(sender, instace, **kwargs): ...


@tells("requires `instances`", where="a_batch", do="batch=Batch(")
def test_a_batch_receiver_without_the_option(User: Any) -> None:
    @post_save(User)
    async def a_batch(sender, instances, **kwargs): ...


@tells("requires `instance`", where="a_batch", do="did you mean 'instances'?")
def test_a_batch_receiver_of_one_instance(User: Any) -> None:
    @post_save(User, batch=edgy.Batch(size=10))
    async def a_batch(sender, instance, **kwargs): ...


@tells("must be callable", where="'welcome'", do="async def")
def test_the_name_of_a_function(User: Any) -> None:
    post_save(User)("welcome")


@tells("must be callable", where="welcome", do="without calling it")
def test_a_call_in_place_of_the_function(User: Any) -> None:
    async def welcome(sender, instance, **kwargs): ...

    coroutine = welcome(User, None)
    try:
        post_save(User)(coroutine)
    finally:
        coroutine.close()


@tells("a class", where="Welcome", do="async def")
def test_a_class(User: Any) -> None:
    @post_save(User)
    class Welcome:
        def __init__(self, sender, instance, **kwargs): ...


@tells("`sender` as its first", where="method", do="when its object exists")
def test_a_method_in_the_body_of_its_class(User: Any) -> None:
    class Mailer:
        @post_save(User)
        async def method(self, sender, instance, **kwargs): ...


@tells("must be async", where="welcome", do="make the decorator's wrapper")
def test_a_decorator_that_hides_async(User: Any) -> None:
    def logged(function):
        @functools.wraps(function)
        def wrapped(sender, **kwargs):
            return function(sender, **kwargs)

        return wrapped

    @post_save(User)
    @logged
    async def welcome(sender, instance, **kwargs): ...


@tells("must be async", where="generator", do="yield")
def test_an_async_generator(User: Any) -> None:
    @post_save(User)
    async def generator(sender, instance, **kwargs):
        yield instance


@tells("has the name", where="mail", do='name="…"')
def test_two_receivers_of_one_name(User: Any) -> None:
    @post_save(User, name="mail")
    async def first(sender, instance, **kwargs): ...

    @post_save(User, name="mail")
    async def second(sender, instance, **kwargs): ...


# What it is connected to


@tells("takes a model or a list of models", where="@post_save", do="@post_save(User)")
def test_no_model(User: Any) -> None:
    @post_save
    async def welcome(sender, instance, **kwargs): ...


@tells("takes a model", where="@post_save", do="@post_save(User)")
def test_empty_parentheses(User: Any) -> None:
    @post_save()
    async def welcome(sender, instance, **kwargs): ...


@tells("takes a model", where="@post_save", do="use bus.receiver('accounts.User'")
def test_a_name_in_place_of_a_model() -> None:
    post_save("accounts.User")


@tells("an instance of User", where="@post_save", do="@post_save(User)")
def test_an_instance_in_place_of_a_model(User: Any) -> None:
    post_save(User(email="ada@example.org"))


@tells("takes a model", where="@post_save", do="Order is no edgy_bus.Model")
def test_a_class_of_pydantic() -> None:
    from pydantic import BaseModel

    class Order(BaseModel): ...

    post_save(Order)


@tells("not an empty list", where="@post_save", do="@post_save([User")
def test_an_empty_list_of_models() -> None:
    post_save([])


@tells("takes a model", where="@post_save", do="@post_save([User, Order])")
def test_two_models_without_a_list(User: Any) -> None:
    post_save(User, User)


@tells("has no registry", where="Note", do="add `class Meta: registry = registry`")
async def test_a_model_without_a_registry() -> None:
    class Note(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

    await Note().save()


# Options


@tells("no option 'retires'", do="did you mean 'retry'?")
def test_a_misspelt_option(User: Any) -> None:
    post_save(User, retires=edgy.Retry())


@tells("no option 'max_retries'", do="retry")
def test_an_option_of_celery(User: Any) -> None:
    post_save(User, max_retries=3)


@tells("retry=3", do="retry=Retry(attempts=8)")
def test_a_number_of_retries(User: Any) -> None:
    post_save(User, retry=3)


@tells("attempts=0", where="Retry", do="from 1 to")
def test_no_attempt_at_all() -> None:
    edgy.Retry(attempts=0)


@tells("unexpected keyword argument 'attemps'", where="Retry", do=PLAIN)
def test_a_misspelt_option_of_retry() -> None:
    edgy.Retry(attemps=3)


@tells("batch=100", do="batch=Batch(size=100")
def test_a_number_as_batch(User: Any) -> None:
    post_save(User, batch=100)


@tells("size=0", where="Batch", do="at least 1")
def test_an_empty_batch() -> None:
    edgy.Batch(size=0)


@tells("deadline=", do="seconds")
def test_a_timedelta_as_deadline(User: Any) -> None:
    post_save(User, deadline=dt.timedelta(seconds=3))


@tells("deadline=-1", do="more than 0")
def test_a_negative_deadline(User: Any) -> None:
    post_save(User, deadline=-1)


@tells("when_changed='email' is text", do='when_changed=("email",)')
def test_one_field_without_a_tuple(User: Any) -> None:
    post_save(User, when_changed="email")


@tells("when_changed names 'emial'", where="User", do="did you mean 'email'?")
def test_a_misspelt_field(User: Any) -> None:
    post_save(User, when_changed=("emial",))


@tells("on_exhausted='retry'", do='"dead_letter" or "hold"')
def test_an_unknown_fate(User: Any) -> None:
    post_save(User, on_exhausted="retry")


@tells("where=", do="not async")
def test_an_async_filter(User: Any) -> None:
    async def is_grown_up(user):
        return user.age > 17

    post_save(User, where=is_grown_up)


@tells("inbox=str", do="inbox=database")
def test_a_url_as_inbox(User: Any) -> None:
    post_save(User, inbox="sqlite:///shop.sqlite")


@tells("inbox=Registry", do="inbox=database")
def test_a_registry_as_inbox(User: Any) -> None:
    post_save(User, inbox=User.meta.registry)


@tells("retry has no effect", do="leave it out")
def test_a_retry_of_a_local_receiver(User: Any) -> None:
    post_save(User, local=True, retry=edgy.Retry(attempts=3))


@tells("inbox has no effect", where="pre_*", do="leave it out")
def test_an_inbox_of_a_receiver_before_the_write(User: Any) -> None:
    pre_save(User, inbox=User.meta.registry.database)


@tells("hold", where="ordered=False", do="leave out")
def test_hold_without_order(User: Any) -> None:
    post_save(User, on_exhausted="hold", ordered=False)


@tells("the group 'mail service'", do="letters")
def test_a_group_with_a_blank(User: Any) -> None:
    post_save(User, group="mail service")


@tells("start='latest'", do='"kept" or "now"')
def test_a_word_of_kafka(User: Any) -> None:
    post_save(User, start="latest")


# By name


@tells("'User' does not name a model", do='"shop.User"')
def test_a_model_without_its_service() -> None:
    bus = edgy.Bus("memory://", service="shop")
    bus.receiver("User", "post_save")


@tells("'post_svae' does not name a signal", do="did you mean 'post_save'?")
def test_a_misspelt_signal() -> None:
    edgy.Bus("memory://").receiver("accounts.User", "post_svae")


@tells("takes the name of a model", do="@post_save(User")
def test_a_class_in_place_of_a_name(User: Any) -> None:
    edgy.Bus("memory://").receiver(User, "post_save")


@tells("takes the name of a signal", do='"post_save"')
def test_a_signal_in_place_of_its_name(User: Any) -> None:
    edgy.Bus("memory://").receiver("accounts.User", post_save)


@tells("'User.post_save' does not name a signal", do='"post_save"')
def test_the_model_stands_in_the_signal_too() -> None:
    edgy.Bus("memory://").receiver("accounts.User", "User.post_save")


@tells("schema=", do="a pydantic model class")
def test_a_dictionary_as_schema() -> None:
    edgy.Bus("memory://").receiver("accounts.User", "post_save", schema=dict)


@tells("schema", where="post_save", do="leave schema out")
def test_a_schema_for_a_model(User: Any) -> None:
    from pydantic import BaseModel

    class Contract(BaseModel): ...

    post_save(User, schema=Contract)


@tells("local", do="@post_save(User, local=True)")
def test_a_local_receiver_by_name() -> None:
    edgy.Bus("memory://").receiver("accounts.User", "post_save", local=True)
