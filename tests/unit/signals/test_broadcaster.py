"""`User.meta.signals`: the built-in signals, custom ones, and those of the parents."""

import pytest

from edgy_bus.errors import ConfigurationError, SignalError, UnknownSignal
from edgy_bus.signals import BUILT_IN, Broadcaster, Signal


def a_receiver(seen, name="receiver"):
    async def receiver(sender, **kwargs):
        seen.append(name)

    # The durable name, of which a signal has one receiver.
    receiver.__qualname__ = name
    return receiver


@pytest.fixture
def signals():
    return Broadcaster("User")


def test_a_model_has_the_six_built_in_signals(signals):
    names = ["pre_save", "pre_update", "pre_delete", "post_save", "post_update", "post_delete"]
    assert [signal.name for signal in signals] == names == list(BUILT_IN)
    assert all(name in signals for name in names)


def test_a_signal_is_the_same_one_however_it_is_asked_for(signals):
    assert signals.post_save is signals.post_save
    assert signals["post_save"] is signals.post_save


def test_two_models_do_not_share_signals():
    assert Broadcaster("User").post_save is not Broadcaster("Profile").post_save


async def test_a_custom_signal_is_made_by_assigning_it(signals):
    seen = []
    signal = signals.on_verify = Signal()
    assert signals.on_verify is signal
    assert signal.name == "on_verify"
    assert [one.name for one in signals] == [*BUILT_IN, "on_verify"]
    signals.on_verify.connect(a_receiver(seen))
    await signals.on_verify.send(object)
    assert seen == ["receiver"]


def test_an_unknown_signal_is_an_error_that_says_which_there_are(signals):
    signals.on_verify = Signal()
    with pytest.raises(
        UnknownSignal, match=r"User has no signal 'on_ban'; it has pre_save, .*, on_verify"
    ):
        _ = signals.on_ban


@pytest.mark.parametrize("name", ["post_svae", "post_sav", "post_savee", "post_sale", "ost_save"])
def test_a_typing_error_is_an_error_that_says_what_was_meant(signals, name):
    with pytest.raises(
        SignalError, match=rf"User has no signal '{name}': did you mean 'post_save'\?"
    ):
        _ = signals[name]


def test_an_unknown_signal_is_also_an_attribute_error(signals):
    assert not hasattr(signals, "on_ban")
    assert "on_ban" not in signals


def test_a_typing_error_does_not_become_a_new_signal(signals):
    with pytest.raises(
        SignalError, match=r"'post_svae' would be a new signal of User: did you mean 'post_save'\?"
    ):
        signals.post_svae = Signal()
    assert "post_svae" not in signals


def test_a_typing_error_in_a_custom_signal_is_found_where_it_is_used(signals):
    signals.on_verify = Signal()
    with pytest.raises(SignalError, match=r"did you mean 'on_verify'\?"):
        _ = signals.on_verfy


@pytest.mark.parametrize("name", ["on_block", "on_lock", "on_clock", "on_unlock"])
def test_custom_signals_may_have_similar_names(signals, name):
    signals.on_lock = Signal()
    setattr(signals, name, Signal())
    assert name in signals


def test_an_unknown_signal_is_an_error_that_says_how_to_declare_it(signals):
    with pytest.raises(UnknownSignal) as caught:
        _ = signals.on_ban
    assert str(caught.value).endswith(
        "An assignment declares a signal: User.meta.signals.on_ban = edgy_bus.Signal()"
    )


async def test_a_signal_that_is_declared_again_keeps_its_receivers(signals):
    seen = []
    former = signals.on_verify = Signal()
    former.connect(a_receiver(seen, "first"))
    later = Signal()
    later.connect(a_receiver(seen, "second"))
    signals.on_verify = later
    # Some modules may hold the former object.
    former.connect(a_receiver(seen, "third"))
    for signal in (former, later, signals.on_verify):
        await signal.send(object)
    assert seen == ["first", "second", "third"] * 3
    with former.muted():
        await signals.on_verify.send(object)
    assert len(seen) == 9


async def test_children_keep_the_receivers_of_a_signal_that_is_declared_again():
    seen, parent = [], Broadcaster("User")
    parent.on_verify = Signal()
    child = Broadcaster("Admin", parents=[parent])
    child.on_verify.connect(a_receiver(seen, "child's"))
    parent.on_verify = Signal()
    parent.on_verify.connect(a_receiver(seen, "parent's"))
    child.on_verify = Signal()
    await child.on_verify.send(object)
    assert seen == ["parent's", "child's"]


@pytest.mark.parametrize("what", [None, "signal", Signal, Broadcaster("Profile")])
def test_only_a_signal_can_be_assigned(signals, what):
    with pytest.raises(
        SignalError, match=r"User.meta.signals.on_verify must be a Signal\(\), not "
    ):
        signals.on_verify = what
    assert "on_verify" not in signals


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_signal_cannot_be_replaced(signals, name):
    kept = signals[name]
    with pytest.raises(
        SignalError, match=f"'{name}' is a built-in signal of User and cannot be replaced"
    ):
        setattr(signals, name, Signal())
    assert signals[name] is kept


@pytest.mark.parametrize(
    "name", ["on verify", "on:verify", "on.verify", "é", "", "_on_verify", "__on_verify__"]
)
def test_a_name_that_cannot_be_part_of_an_event_is_refused(signals, name):
    with pytest.raises(ConfigurationError, match="name"):
        setattr(signals, name, Signal())
    assert [signal.name for signal in signals] == list(BUILT_IN)


def test_a_custom_signal_may_be_replaced(signals):
    signals.on_verify = Signal()
    signals.on_verify = replaced = Signal()
    assert signals.on_verify is replaced


def test_a_signal_that_has_another_name_already_is_refused(signals):
    signals.on_verify = Signal()
    with pytest.raises(SignalError, match="this signal is 'on_verify' already"):
        signals.account_closed = signals.on_verify
    assert "account_closed" not in signals


async def test_a_child_has_the_signals_of_its_parents_with_their_receivers():
    seen, parent = [], Broadcaster("User")
    parent.on_verify = Signal()
    child = Broadcaster("Admin", parents=[parent])
    for signals, name in ((parent, "parent's"), (child, "child's")):
        signals.post_save.connect(a_receiver(seen, name))
        signals.on_verify.connect(a_receiver(seen, name))
    await child.post_save.send(object)
    await child.on_verify.send(object)
    assert seen == ["parent's", "child's"] * 2
    await parent.post_save.send(object)
    await parent.on_verify.send(object)
    assert seen[4:] == ["parent's"] * 2


async def test_a_child_has_the_signals_that_its_parent_gets_later():
    seen, parent = [], Broadcaster("User")
    child = Broadcaster("Admin", parents=[parent])
    parent.on_verify = Signal()
    parent.on_verify.connect(a_receiver(seen))
    assert "on_verify" in child
    assert "on_verify" in [signal.name for signal in child]
    await child.on_verify.send(object)
    assert seen == ["receiver"]


def test_a_parent_does_not_have_the_signals_of_its_child():
    parent = Broadcaster("User")
    child = Broadcaster("Admin", parents=[parent])
    child.on_promote = Signal()
    assert "on_promote" not in parent


async def test_a_signal_that_a_child_declares_again_keeps_the_receivers_of_the_parent():
    seen, parent = [], Broadcaster("User")
    parent.on_verify = Signal()
    parent.on_verify.connect(a_receiver(seen))
    child = Broadcaster("Admin", parents=[parent])
    child.on_verify = Signal()
    await child.on_verify.send(object)
    assert seen == ["receiver"]


async def test_the_route_of_a_model_is_the_way_of_all_its_signals():
    routed = []

    async def route(signal, sender, instance, kwargs):
        routed.append(signal.name)

    parent = Broadcaster("User")
    parent.on_ban = Signal()
    child = Broadcaster("Admin", route, [parent])
    child.on_verify = Signal()
    for name in ("post_save", "on_ban", "on_verify"):
        await child[name].send(object)
    assert routed == ["post_save", "on_ban", "on_verify"]
    await parent.on_ban.send(object)
    assert len(routed) == 3
