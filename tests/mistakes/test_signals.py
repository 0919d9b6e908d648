"""Mistakes with signals: custom ones, sending, and disconnecting."""

from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus import post_save
from tests.mistakes.telling import PLAIN, tells


async def welcome(sender: Any, instance: Any, **kwargs: Any) -> None: ...


@tells("User has no signal 'on_verify'", do="User.meta.signals.on_verify = edgy_bus.Signal()")
def test_a_signal_that_was_not_declared(User: Any) -> None:
    User.meta.signals.on_verify.connect(welcome)


@tells("User has no signal 'post_svae'", do="did you mean 'post_save'?")
def test_a_misspelt_signal(User: Any) -> None:
    User.meta.signals.post_svae.connect(welcome)


@tells("'post_svae' would be a new signal", where="User", do="did you mean 'post_save'?")
def test_a_declared_typing_error(User: Any) -> None:
    User.meta.signals.post_svae = edgy.Signal()


@tells("must be a Signal()", where="User.meta.signals.on_verify", do="Signal()")
def test_the_class_in_place_of_a_signal(User: Any) -> None:
    User.meta.signals.on_verify = edgy.Signal


@tells("'post_save' is a built-in signal", where="User", do="cannot be replaced")
def test_a_built_in_signal_is_replaced(User: Any) -> None:
    User.meta.signals.post_save = edgy.Signal()


@tells("signal.unheard", where="User", do="User.meta.signals.on_verify = edgy_bus.Signal()")
async def test_a_signal_of_no_model_is_sent(User: Any) -> None:
    on_verify = edgy.Signal()
    async with edgy.Bus():
        await on_verify.send(User, instance=User(email="a@b.c"))


@tells("is 'on_verify' already", do="another Signal()")
def test_one_signal_of_two_names(User: Any) -> None:
    User.meta.signals.on_verify = User.meta.signals.on_reset = edgy.Signal()


@tells("another model", where="Order", do="declare")
async def test_a_signal_of_another_model(User: Any) -> None:
    shop = User.meta.registry

    class Order(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = shop

    User.meta.signals.on_verify = edgy.Signal()
    await User.meta.signals.on_verify.send(Order, instance=Order())


@tells("needs the class of a model as its sender", where="on_verify", do="sender=User")
async def test_an_instance_as_sender(User: Any) -> None:
    User.meta.signals.on_verify = edgy.Signal()
    await User.meta.signals.on_verify.send(User(email="a@b.c"))


@tells("cannot be sent with the keyword 'event'", where="on_verify", do="another name")
async def test_a_keyword_of_the_library(User: Any) -> None:
    User.meta.signals.on_verify = edgy.Signal()
    await User.meta.signals.on_verify.send(User, event="verified")


@tells("missing 1 required positional argument: 'sender'", where="Signal.send", do=PLAIN)
async def test_no_sender(User: Any) -> None:
    User.meta.signals.on_verify = edgy.Signal()
    await User.meta.signals.on_verify.send()


@tells("missing 1 required positional argument: 'code'", where="verified", do=PLAIN)
async def test_a_keyword_that_was_not_sent(User: Any) -> None:
    User.meta.signals.on_verify = edgy.Signal()

    @User.meta.signals.on_verify.connect
    async def verified(sender, instance, code, **kwargs): ...

    await User.meta.signals.on_verify.send(User, instance=User(email="a@b.c"))


@tells("no attribute 'connet'", where="'Signal'", do=PLAIN)
def test_a_misspelt_method(User: Any) -> None:
    User.meta.signals.post_save.connet(welcome)


@tells("welcome is not connected to 'post_save'", do="missing_ok=True")
def test_a_disconnect_of_a_stranger(User: Any) -> None:
    User.meta.signals.post_save.disconnect(welcome)


@tells("unexpected keyword argument 'local'", where="Signal.connect", do=PLAIN)
def test_keywords_of_connect(User: Any) -> None:
    User.meta.signals.post_save.connect(welcome, local=True)


@tells("connect takes Options(…)", where="dict", do="Options(local=True)")
def test_a_dictionary_of_options(User: Any) -> None:
    User.meta.signals.post_save.connect(welcome, {"local": True})


@tells("connected twice", where="welcome", do="once")
async def test_a_receiver_of_two_connections_is_called_once(users: Any) -> None:
    calls = []

    async def counted(sender: Any, instance: Any, **kwargs: Any) -> None:
        calls.append(instance)

    post_save(users)(counted)
    post_save(users)(counted)
    await users(email="a@b.c").save()
    assert len(calls) == 1
    return "welcome connected twice is called once"


@tells("no attribute 'on_verify'", where="User", do="meta.signals")
def test_a_signal_as_an_attribute_of_the_model(User: Any) -> None:
    User.on_verify


@pytest.mark.xfail(strict=True, reason="silent: a context manager that is never entered")
@tells("muted", where="User", do="with")
async def test_muted_without_with(users: Any) -> None:
    users.meta.signals.post_save.muted()
