"""Call the receivers of a signal in order, each once, until a receiver is disconnected."""

import asyncio

import pytest
from pydantic import BaseModel

from edgy_bus.errors import SignalError
from edgy_bus.signals import (
    BUILT_IN,
    BUILT_IN_KEYWORDS,
    CUSTOM_KEYWORDS,
    Fields,
    Options,
    Signal,
)


class User:
    """Any class can be a sender."""


def a_receiver(seen, name="receiver"):
    async def receiver(sender, instance, **kwargs):
        seen.append(name)

    # The durable name, of which a signal has one receiver.
    receiver.__qualname__ = name
    return receiver


def family():
    """A signal of a parent and one of its child."""
    parent, child = Signal(), Signal()
    parent.bind("post_save", None)
    child.bind("post_save", None, [parent])
    return parent, child


async def test_a_receiver_gets_the_sender_the_instance_and_the_keywords():
    seen = []

    async def receiver(sender, instance, **kwargs):
        seen.append((sender, instance, kwargs))

    signal, user = Signal(), User()
    signal.connect(receiver)
    await signal.send(User, user, row_count=1, column_values={"name": "Ada"})
    given = {"row_count": 1, "column_values": {"name": "Ada"}}
    assert seen == [(User, user, {**given, "model_instance": None, "event": None})]


async def test_sender_and_instance_may_be_given_by_name():
    seen = []

    async def receiver(sender, instance, **kwargs):
        seen.append((sender, instance))

    signal = Signal()
    signal.connect(receiver)
    await signal.send(sender=User, instance=None)
    await signal.send(User)
    assert seen == [(User, None), (User, None)]


async def test_a_signal_without_receivers_can_be_sent():
    await Signal().send(User)


async def test_receivers_are_called_in_the_order_in_which_they_were_connected():
    seen, signal = [], Signal()
    for name in "cab":
        signal.connect(a_receiver(seen, name))
    await signal.send(User)
    assert seen == ["c", "a", "b"]


async def test_a_receiver_begins_when_the_one_before_it_has_ended():
    seen, signal, go = [], Signal(), asyncio.Event()

    async def slow(sender, **kwargs):
        seen.append("slow begins")
        asyncio.get_running_loop().call_soon(go.set)
        await go.wait()
        seen.append("slow ends")

    signal.connect(slow)
    signal.connect(a_receiver(seen, "next"))
    await signal.send(User)
    assert seen == ["slow begins", "slow ends", "next"]


async def test_connecting_twice_counts_once():
    seen, signal = [], Signal()
    receiver = a_receiver(seen)
    signal.connect(receiver)
    signal.connect(receiver)
    await signal.send(User)
    assert seen == ["receiver"]


async def test_connecting_a_bound_method_twice_counts_once():
    class Mailer:
        calls = 0

        async def on_save(self, sender, **kwargs):
            self.calls += 1

    signal, mailer = Signal(), Mailer()
    signal.connect(mailer.on_save)
    signal.connect(mailer.on_save)
    await signal.send(User)
    assert mailer.calls == 1
    assert signal.disconnect(mailer.on_save)
    await signal.send(User)
    assert mailer.calls == 1


async def test_connecting_again_keeps_the_place_and_takes_the_later_options():
    seen, signal = [], Signal()
    first, second = a_receiver(seen, "first"), a_receiver(seen, "second")
    signal.connect(first, Options(name="old"))
    signal.connect(second)
    signal.connect(first, Options(name="new"))
    await signal.send(User)
    assert seen == ["first", "second"]
    assert [receiver.options.name for receiver in signal.receivers] == ["new", None]


async def test_a_disconnected_receiver_is_not_called():
    seen, signal = [], Signal()
    receiver = a_receiver(seen)
    signal.connect(receiver)
    signal.connect(a_receiver(seen, "other"))
    assert signal.disconnect(receiver) is True
    await signal.send(User)
    assert seen == ["other"]


def test_disconnecting_what_is_not_connected_says_so():
    seen, signal = [], Signal()
    receiver = a_receiver(seen)
    signal.bind("on_verify", None)
    with pytest.raises(SignalError, match=r"receiver is not connected to 'on_verify': no receiver"):
        signal.disconnect(receiver)
    assert signal.disconnect(receiver, missing_ok=True) is False
    signal.connect(receiver)
    assert signal.disconnect(receiver) is True
    assert signal.disconnect(receiver, missing_ok=True) is False


async def test_what_a_receiver_raises_reaches_whoever_sends_and_ends_the_call():
    seen, signal = [], Signal()

    async def broken(sender, **kwargs):
        raise LookupError("out of stamps")

    signal.connect(a_receiver(seen, "before"))
    signal.connect(broken)
    signal.connect(a_receiver(seen, "after"))
    with pytest.raises(LookupError, match="out of stamps"):
        await signal.send(User)
    assert seen == ["before"]


async def test_a_receiver_may_disconnect_itself_while_it_runs():
    seen, signal = [], Signal()

    async def once(sender, **kwargs):
        seen.append("once")
        signal.disconnect(once)

    signal.connect(once)
    signal.connect(a_receiver(seen, "other"))
    await signal.send(User)
    await signal.send(User)
    assert seen == ["once", "other", "other"]


async def test_a_receiver_of_some_fields_is_not_called_when_others_changed():
    seen, signal = [], Signal()
    signal.connect(a_receiver(seen), Options(when_changed=["email"]))
    await signal.send(User, changes={"name": {"old": "Ada", "new": "Eva"}})
    assert seen == []
    await signal.send(User, changes={"email": {"new": "ada@example.org"}})
    await signal.send(User, changes=None)
    await signal.send(User)
    assert seen == ["receiver"] * 3


async def test_a_child_calls_the_receivers_of_its_parent_first():
    seen, (parent, child) = [], family()
    child.connect(a_receiver(seen, "child's"))
    parent.connect(a_receiver(seen, "parent's"))
    await child.send(User)
    assert seen == ["parent's", "child's"]


async def test_a_parent_does_not_call_the_receivers_of_its_child():
    seen, (parent, child) = [], family()
    child.connect(a_receiver(seen))
    await parent.send(User)
    assert seen == []


async def test_a_receiver_of_parent_and_child_is_called_once_with_the_options_of_the_child():
    seen, (parent, child) = [], family()
    receiver = a_receiver(seen)
    parent.connect(receiver, Options(name="parent's"))
    child.connect(receiver, Options(name="child's"))
    await child.send(User)
    assert seen == ["receiver"]
    assert child.find(receiver).options.name == "child's"
    assert parent.find(receiver).options.name == "parent's"


async def test_disconnecting_an_inherited_receiver_holds_for_the_child_alone():
    seen, (parent, child) = [], family()
    receiver = a_receiver(seen)
    parent.connect(receiver)
    assert child.disconnect(receiver) is True
    await child.send(User)
    assert seen == []
    await parent.send(User)
    assert seen == ["receiver"]


async def test_a_receiver_of_both_is_gone_from_the_child_after_one_disconnect():
    seen, (parent, child) = [], family()
    receiver = a_receiver(seen)
    parent.connect(receiver)
    child.connect(receiver)
    child.disconnect(receiver)
    await child.send(User)
    assert seen == []


async def test_an_inherited_receiver_can_be_connected_again():
    seen, (parent, child) = [], family()
    receiver = a_receiver(seen)
    parent.connect(receiver)
    child.disconnect(receiver)
    child.connect(receiver)
    await child.send(User)
    assert seen == ["receiver"]
    child.disconnect(receiver)
    parent.disconnect(receiver)
    parent.connect(receiver)
    await child.send(User)
    assert seen == ["receiver"], "the child was told to leave it out"


async def test_two_parents_that_share_a_receiver_call_it_once():
    seen, grandparent = [], Signal()
    parents = [Signal(), Signal()]
    for parent in parents:
        parent.bind("post_save", None, [grandparent])
    child = Signal()
    child.bind("post_save", None, parents)
    grandparent.connect(a_receiver(seen))
    await child.send(User)
    assert seen == ["receiver"]


async def test_a_route_takes_what_is_sent_instead_of_the_receivers():
    seen, routed, signal = [], [], Signal()

    async def route(signal, sender, instance, kwargs):
        routed.append((signal, sender, instance, dict(kwargs)))

    signal.bind("on_verify", route)
    signal.connect(a_receiver(seen))
    await signal.send(User, "an instance", reason="asked")
    assert seen == []
    assert routed == [(signal, User, "an instance", {"reason": "asked"})]


def test_a_signal_keeps_its_first_name():
    signal = Signal()
    signal.bind("on_verify", None)
    signal.bind("on_verify", None)
    with pytest.raises(
        SignalError,
        match=r"this signal is 'on_verify' already; make another Signal\(\) for 'on_ban'",
    ):
        signal.bind("on_ban", None)
    assert signal.name == "on_verify"


def test_a_receiver_is_found_by_its_function():
    signal = Signal()
    signal.bind("on_verify", None)
    receiver = signal.connect(a_receiver([]))
    assert signal.find(receiver).function is receiver
    with pytest.raises(SignalError, match=r"test_signal.receiver is not connected to 'on_verify'"):
        signal.find(a_receiver([]))


def test_a_signal_shows_its_name_and_how_many_receivers_it_has():
    signal = Signal()
    assert repr(signal) == "<Signal without a name: 0 receivers>"
    signal.bind("on_verify", None)
    signal.connect(a_receiver([]))
    assert repr(signal) == "<Signal on_verify: 1 receivers>"


async def test_where_leaves_out_instances_and_never_sets():
    heard = []

    async def receiver(sender, instance, **kwargs):
        heard.append(instance)

    signal = Signal()
    signal.connect(receiver, Options(where=lambda one: one > 1))
    for one in (1, 2):
        await signal.send(sender="s", instance=one)
    await signal.deliver(signal.receivers, "s", "a set", {"model_instance": None})
    assert heard == [2, "a set"]


def test_the_fields_of_when_changed_are_checked_where_the_model_is_known():
    signal, options = Signal(), Options(when_changed=("emial",))
    signal.connect(a_receiver([]), options)  # a signal of no model, or of a model of no fields
    signal.bind("post_save", None, fields=Fields("an event of User", ("id", "email")))
    with pytest.raises(SignalError, match=r"when_changed names 'emial'.*did you mean 'email'\?"):
        signal.connect(a_receiver([]), options)
    assert len(signal.receivers) == 1


# Durable names


def again(name="receiver"):
    """Return a function of a name that `a_receiver` has given to another function."""
    return a_receiver([], name)


async def test_a_function_that_is_defined_again_disconnects_the_receiver_of_its_name():
    seen, signal = [], Signal()
    signal.connect(a_receiver(seen))
    signal.connect(a_receiver(seen, "other"))
    assert signal.disconnect(again()) is True
    await signal.send(User)
    assert seen == ["other"]


def test_an_inherited_receiver_is_disconnected_by_its_name_too():
    parent, child = family()
    parent.connect(a_receiver([]))
    assert child.disconnect(again()) is True
    assert child.receivers == ()
    assert len(parent.receivers) == 1


def test_the_name_of_a_function_finds_a_receiver_of_another_durable_name():
    signal = Signal()
    signal.connect(a_receiver([]), Options(name="welcome-mail"))
    assert signal.disconnect(again()) is True


def test_a_name_that_several_receivers_have_disconnects_none_of_them():
    signal = Signal()
    signal.bind("on_verify", None)
    for name in ("first", "second"):
        signal.connect(again(), Options(name=name))
    with pytest.raises(SignalError, match="stands for several receivers: 'first', 'second'"):
        signal.disconnect(again())
    assert len(signal.receivers) == 2


def test_a_connected_function_is_meant_before_another_of_its_name():
    signal, first, second = Signal(), again(), again()
    signal.connect(first, Options(name="first"))
    signal.connect(second, Options(name="second"))
    assert signal.disconnect(first) is True
    assert [receiver.function for receiver in signal.receivers] == [second]


def test_an_error_says_which_receivers_are_connected():
    signal = Signal()
    signal.bind("on_verify", None)
    signal.connect(a_receiver([], "send_mail"))
    with pytest.raises(SignalError, match=r"did you mean '.*send_mail'\? \(missing_ok=True"):
        signal.disconnect(a_receiver([], "send_mial"))
    assert signal.disconnect(a_receiver([], "send_mial"), missing_ok=True) is False
    assert len(signal.receivers) == 1


@pytest.mark.parametrize("inherited", [False, True])
def test_two_receivers_of_one_name_are_refused(inherited):
    parent, child = family()
    (parent if inherited else child).connect(a_receiver([]))
    with pytest.raises(
        SignalError, match=r"another receiver of post_save has the name '.*receiver' already"
    ):
        child.connect(again())
    assert len(child.receivers) == 1
    child.connect(again(), Options(name="another"))
    child.connect(again(), Options(group="another"))
    assert len(child.receivers) == 3


def test_the_name_of_a_disconnected_receiver_is_free():
    signal = Signal()
    signal.connect(a_receiver([]))
    signal.disconnect(again())
    later = signal.connect(again())
    assert [receiver.function for receiver in signal.receivers] == [later]


# Keywords


@pytest.mark.parametrize("name", ["model_instance", "event", "instances", "events"])
async def test_keywords_that_receivers_get_from_the_library_cannot_be_sent(name):
    signal = Signal()
    signal.bind("on_verify", None)
    with pytest.raises(SignalError, match=f"on_verify cannot be sent with the keyword '{name}'"):
        await signal.send(User, **{name: 1})


@pytest.mark.parametrize("name", [*BUILT_IN, "on_verify"])
async def test_a_keyword_without_a_value_is_none(name):
    seen, signal = [], Signal()
    signal.bind(name, None)

    async def receiver(sender, **kwargs):
        seen.append(kwargs)

    signal.connect(receiver)
    await signal.send(User, "an instance", more=1)
    names = BUILT_IN_KEYWORDS if name in BUILT_IN else CUSTOM_KEYWORDS
    assert seen == [dict.fromkeys(names) | {"instance": "an instance", "more": 1}]


async def test_receivers_do_not_share_their_keywords():
    seen, signal = [], Signal()

    async def greedy(sender, **kwargs):
        kwargs.clear()

    async def modest(sender, **kwargs):
        seen.append(sorted(kwargs))

    for receiver in (greedy, modest):
        signal.connect(receiver)
    await signal.send(User, by="mail")
    assert seen == [["by", "event", "instance", "model_instance"]]


@pytest.mark.parametrize("name", BUILT_IN[:3])
def test_rows_of_a_set_are_not_known_before_the_change(name):
    signal = Signal()
    signal.bind(name, None)
    with pytest.raises(SignalError, match=f"rows=True does not fit {name}, which is sent before"):
        signal.connect(a_receiver([]), Options(rows=True))


def test_a_schema_is_for_receivers_by_name():
    signal, options = Signal(), Options(schema=BaseModel)
    signal.bind("post_save", None)
    with pytest.raises(SignalError, match=r"schema is an option of bus\.receiver"):
        signal.connect(a_receiver([]), options)
    signal.connect(a_receiver([]), options, sender="accounts.User")


async def test_a_receiver_by_name_gets_the_name_as_its_sender():
    seen, signal = [], Signal()

    async def receiver(sender, **kwargs):
        seen.append(sender)

    signal.connect(receiver, sender="accounts.User")
    await signal.send(User)
    assert seen == ["accounts.User"]
