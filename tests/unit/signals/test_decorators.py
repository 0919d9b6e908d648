"""`@post_save(User)` and its siblings."""

import pytest

from edgy_bus import models as edgy
from edgy_bus import signals
from edgy_bus.errors import SignalError
from edgy_bus.retrying import Retry
from edgy_bus.signals import BUILT_IN, post_save, pre_save


class User(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)
    email: str = edgy.CharField(max_length=255)
    password: str = edgy.CharField(max_length=255, secret=True)


class Profile(edgy.Model):
    id: int = edgy.BigIntegerField(primary_key=True)


class Admin(User):
    rank: int = edgy.IntegerField(default=0)


@pytest.fixture(autouse=True)
def _without_receivers():
    yield
    for model in (User, Profile, Admin):
        for signal in model.meta.signals:
            for receiver in signal.receivers:
                signal.disconnect(receiver.function)


def functions(signal):
    return [receiver.function for receiver in signal.receivers]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_signal_has_a_decorator_that_connects_to_it_alone(name):
    @getattr(signals, name)(User)
    async def receiver(sender, instance, **kwargs): ...

    for signal in User.meta.signals:
        assert functions(signal) == ([receiver] if signal.name == name else [])


def test_a_decorated_function_stays_what_it_was():
    async def receiver(sender, instance, **kwargs): ...

    assert post_save(User)(receiver) is receiver


@pytest.mark.parametrize("collection", [list, tuple, set])
def test_several_models_can_be_given(collection):
    @post_save(collection([User, Profile]))
    async def receiver(sender, instance, **kwargs): ...

    assert functions(User.meta.signals.post_save) == [receiver]
    assert functions(Profile.meta.signals.post_save) == [receiver]


def test_a_receiver_of_several_models_is_disconnected_from_one_alone():
    @post_save([User, Profile])
    async def receiver(sender, instance, **kwargs): ...

    User.meta.signals.post_save.disconnect(receiver)
    assert functions(User.meta.signals.post_save) == []
    assert functions(Profile.meta.signals.post_save) == [receiver]


def test_decorators_can_be_stacked():
    @pre_save(User)
    @post_save(User)
    async def receiver(sender, instance, **kwargs): ...

    assert (
        functions(User.meta.signals.pre_save)
        == functions(User.meta.signals.post_save)
        == [receiver]
    )


def test_a_static_method_can_be_decorated_inside_and_outside():
    class Mailer:
        @post_save(User)
        @staticmethod
        async def outside(sender, instance, **kwargs): ...

        @staticmethod
        @post_save(User)
        async def inside(sender, instance, **kwargs): ...

    assert len(functions(User.meta.signals.post_save)) == 2


def test_a_receiver_of_a_model_is_one_of_its_subclass_too():
    @post_save(User)
    async def receiver(sender, instance, **kwargs): ...

    assert functions(Admin.meta.signals.post_save) == [receiver]


def test_the_contract_is_checked():
    with pytest.raises(SignalError, match=r"must take \*\*kwargs"):

        @post_save(User)
        async def receiver(sender, instance): ...

    assert functions(User.meta.signals.post_save) == []


def test_the_name_of_a_model_is_refused_and_the_error_says_what_takes_names():
    with pytest.raises(
        SignalError, match=r"takes a model or a list of models, not 'accounts.User'"
    ) as caught:
        post_save("accounts.User")
    assert """bus.receiver('accounts.User', "post_save")""" in str(caught.value)


def test_an_instance_is_refused_without_showing_its_secrets():
    with pytest.raises(SignalError, match="takes a model or a list of models") as caught:
        post_save(User(email="ada@example.org", password="hush"))
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("what", [None, 5, object, edgy.Model, User.meta.signals])
def test_what_is_not_a_model_is_refused(what):
    with pytest.raises(SignalError, match="@post_save takes a model or a list of models"):
        post_save(what)


def test_one_wrong_model_in_a_list_connects_nothing():
    with pytest.raises(SignalError, match="not 'Profile'"):

        @post_save([User, "Profile"])
        async def receiver(sender, instance, **kwargs): ...

    assert functions(User.meta.signals.post_save) == []


def test_options_reach_the_receiver():
    @post_save(
        User,
        name="welcome-mail",
        group="mail",
        on_commit=True,
        when_changed=["email"],
        retry=Retry(attempts=2),
        deadline=3.5,
    )
    async def receiver(sender, instance, **kwargs): ...

    options = User.meta.signals.post_save.find(receiver).options
    assert (options.name, options.group, options.on_commit) == ("welcome-mail", "mail", True)
    assert (options.when_changed, options.retry, options.deadline) == (
        ("email",),
        Retry(attempts=2),
        3.5,
    )


def test_options_of_a_local_receiver_reach_it_too():
    @post_save(User, name="here", local=True, on_commit=True, where=bool)
    async def receiver(sender, instance, **kwargs): ...

    options = User.meta.signals.post_save.find(receiver).options
    assert (options.name, options.local, options.on_commit) == ("here", True, True)
    assert options.where is bool


@pytest.mark.parametrize(
    ("connector", "keywords", "said"),
    [
        (post_save, {"retires": 3}, "no option 'retires': did you mean 'retry'?"),
        (post_save, {"when_changed": ("emial",)}, "did you mean 'email'?"),
        (post_save, {"when_changed": ("zebra",)}, "; the fields are id, email"),
        (post_save, {"when_changed": ("password",)}, "an event of User has no such field"),
        (
            post_save,
            {"schema": edgy.Model},
            "leave schema out; schema is an option of bus.receiver",
        ),
        (pre_save, {"retry": Retry(attempts=2)}, "retry has no effect on a receiver that runs in"),
        (pre_save, {"group": "mail"}, "and every pre_* receiver of a class): leave it out"),
        (pre_save, {"on_commit": True}, "on_commit=True does not fit pre_save"),
    ],
    ids=str,
)
def test_an_option_that_does_not_fit_connects_nothing(connector, keywords, said):
    with pytest.raises(SignalError) as caught:

        @connector([User, Profile], **keywords)
        async def receiver(sender, instance, **kwargs): ...

    assert said in str(caught.value)
    for model in (User, Profile):
        assert functions(model.meta.signals[connector.name]) == []


def test_a_field_of_a_derived_model_is_a_field_of_its_own():
    post_save(Admin, when_changed=("email", "rank"))
    with pytest.raises(SignalError, match="'rank'"):
        post_save(User, when_changed=("email", "rank"))


def test_a_receiver_of_a_pre_signal_is_local_and_one_of_a_post_signal_is_not():
    @pre_save(User)
    @post_save(User)
    async def receiver(sender, instance, **kwargs): ...

    assert User.meta.signals.pre_save.find(receiver).options.local
    assert not User.meta.signals.post_save.find(receiver).options.local


def test_wrong_options_are_refused_before_there_is_a_function():
    with pytest.raises(SignalError, match="when_changed='email' is text"):
        post_save(User, when_changed="email")


def test_a_decorator_shows_how_it_is_used():
    assert repr(post_save) == "<post_save: use it as @post_save(Model)>"
