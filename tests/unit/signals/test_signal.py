"""Call the receivers of a signal in order, each once, until a receiver is disconnected."""

import asyncio

import pytest

from edgy_bus.errors import SignalError
from edgy_bus.signals import Fields, Options, Signal


class User:
    """Any class can be a sender."""


def a_receiver(seen, name="receiver"):
    async def receiver(sender, instance, **kwargs):
        seen.append(name)

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
    assert seen == [(User, user, {"row_count": 1, "column_values": {"name": "Ada"}})]


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
    assert signal.disconnect(receiver) is False
    signal.connect(receiver)
    assert signal.disconnect(receiver) is True
    assert signal.disconnect(receiver) is False


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
    with pytest.raises(
        SignalError, match=r"a_receiver\.<locals>\.receiver is not connected to 'on_verify'"
    ):
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
    await signal.send(sender="s", instance="a set", model_instance=None)
    assert heard == [2, "a set"]


def test_the_fields_of_when_changed_are_checked_where_the_model_is_known():
    signal, options = Signal(), Options(when_changed=("emial",))
    signal.connect(a_receiver([]), options)  # a signal of no model, or of a model of no fields
    signal.bind("post_save", None, fields=Fields("an event of User", ("id", "email")))
    with pytest.raises(SignalError, match=r"when_changed names 'emial'.*did you mean 'email'\?"):
        signal.connect(a_receiver([]), options)
    assert len(signal.receivers) == 1
