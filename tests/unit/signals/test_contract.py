"""Check the contract of a receiver at connection; the error names the rule that is broken."""

from functools import partial, wraps

import pytest

from edgy_bus.errors import ConfigurationError, SignalError
from edgy_bus.signals import (
    BUILT_IN,
    BUILT_IN_KEYWORDS,
    CUSTOM_KEYWORDS,
    Batch,
    Options,
    Receiver,
    Signal,
)
from edgy_bus.signals.naming import describe
from edgy_bus.signals.receiver import check


async def plain(sender, instance, **kwargs):
    """The receiver of the documentation."""


class Mailer:
    def __init__(self, address="post@example.org"):
        self.address = address
        self.seen = []

    async def on_save(self, sender, instance, **kwargs):
        self.seen.append(instance)

    @staticmethod
    async def on_delete(sender, instance, **kwargs):
        """A function that lives in a class."""

    @classmethod
    async def on_update(cls, sender, instance, **kwargs):
        """A method of the class."""

    async def __call__(self, sender, instance, **kwargs):
        self.seen.append(instance)


async def with_a_first(mailer, sender, instance, **kwargs):
    """Becomes a receiver once `mailer` is given."""


def decorated(function):
    @wraps(function)
    async def wrapper(sender, *args, **kwargs):
        return await function(sender, *args, **kwargs)

    return wrapper


async def sender_by_position(sender, /, **kwargs):
    """Nothing calls a receiver with sender=..."""


async def sender_and_keywords(sender, **kwargs):
    """The instance is one of the keywords."""


async def with_defaults(sender, instance=None, *, values=None, **everything_else):
    """The name of the keywords is free."""


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(plain, id="function"),
        pytest.param(partial(plain, colour="red"), id="partial"),
        pytest.param(
            partial(partial(with_a_first, Mailer()), colour="red"), id="partial of a partial"
        ),
        pytest.param(partial(Mailer(), colour="red"), id="partial of a callable object"),
        pytest.param(Mailer().on_save, id="bound method"),
        pytest.param(Mailer.on_delete, id="static method"),
        pytest.param(vars(Mailer)["on_delete"], id="static method inside the class body"),
        pytest.param(Mailer.on_update, id="class method"),
        pytest.param(Mailer(), id="callable object"),
        pytest.param(decorated(plain), id="decorated function"),
        pytest.param(sender_by_position, id="sender by position alone"),
        pytest.param(sender_and_keywords, id="no parameter for the instance"),
        pytest.param(with_defaults, id="defaults and keywords of its own"),
    ],
)
async def test_what_keeps_the_contract_is_accepted_and_called(function):
    signal = Signal()
    assert signal.connect(function) is function
    await signal.send(Mailer, "an instance", values={}, something_new=True)


async def test_a_bound_method_gets_its_object():
    signal, mailer, other = Signal(), Mailer(), Mailer()
    signal.connect(mailer.on_save)
    await signal.send(Mailer, "an instance")
    assert (mailer.seen, other.seen) == (["an instance"], [])


async def test_a_partial_gets_what_it_was_made_with():
    seen = []

    async def receiver(sender, instance, colour, **kwargs):
        seen.append((instance, colour))

    signal = Signal()
    signal.connect(partial(receiver, colour="red"))
    await signal.send(Mailer, 1)
    assert seen == [(1, "red")]


def refusal(function):
    with pytest.raises(SignalError) as caught:
        Signal().connect(function)
    return str(caught.value)


@pytest.mark.parametrize("what", [None, "send_email", 5, {"sender": 1}])
def test_what_cannot_be_called_is_refused(what):
    assert refusal(what).startswith(f"a receiver must be callable; {what!r} is not: connect")


def test_a_receiver_without_parameters_is_refused():
    async def receiver(): ...

    assert "must take `sender` as its first parameter" in refusal(receiver)


def test_a_receiver_that_takes_something_else_first_is_refused():
    async def receiver(instance, sender, **kwargs): ...

    text = refusal(receiver)
    assert "receiver must take `sender` as its first parameter" in text
    assert "async def receiver(sender, instance, **kwargs)" in text


def test_a_receiver_that_takes_sender_by_name_alone_is_refused():
    async def receiver(*, sender, **kwargs): ...

    assert "must take `sender` as its first parameter" in refusal(receiver)


def test_a_method_that_nobody_has_bound_is_refused():
    assert "Mailer.on_save must take `sender` as its first parameter" in refusal(Mailer.on_save)


def test_a_partial_that_already_has_its_sender_is_refused():
    assert "must take `sender` as its first parameter" in refusal(partial(plain, Mailer))


def test_a_receiver_without_kwargs_is_refused():
    async def receiver(sender, instance): ...

    assert "receiver must take **kwargs: signals may pass more to it than today" in refusal(
        receiver
    )


def test_positional_arguments_do_not_stand_in_for_kwargs():
    async def receiver(sender, *args): ...

    assert "must take **kwargs" in refusal(receiver)


def test_a_parameter_that_is_given_by_position_is_refused():
    async def receiver(sender, instance, /, **kwargs): ...

    assert "takes `instance` by position only" in refusal(receiver)


# Parameters that no signal gives


def bound(name):
    signal = Signal()
    signal.bind(name, None)
    return signal


async def misnamed(sender, instanc, **kwargs): ...


async def needs_a_row(sender, instance, row, **kwargs): ...


async def needs_a_keyword(sender, *, chagnes, **kwargs): ...


async def needs_everything(
    sender,
    instance,
    model_instance,
    values,
    column_values,
    is_update,
    changes,
    row_count,
    operation_skipped,
    keys,
    event,
    **kwargs,
): ...


async def has_a_default(sender, row=None, *, colour="red", **kwargs): ...


async def of_a_batch(sender, instances, events, **kwargs): ...


@pytest.mark.parametrize("signal", BUILT_IN)
@pytest.mark.parametrize(
    ("function", "text"),
    [
        (misnamed, "misnamed requires `instanc`, which {} does not give: did you mean 'instance'?"),
        (needs_a_row, "requires `row`, which {} does not give; it gives instance, model_instance"),
        (needs_a_keyword, "requires `chagnes`, which {} does not give: did you mean 'changes'?"),
        (of_a_batch, "requires `instances`, which {} does not give; receivers with batch=Batch(…)"),
    ],
)
def test_a_required_parameter_that_a_built_in_signal_does_not_give_is_refused(
    signal, function, text
):
    chosen = bound(signal)
    with pytest.raises(SignalError) as caught:
        chosen.connect(function)
    assert text.format(signal) in str(caught.value)
    assert chosen.receivers == ()


@pytest.mark.parametrize("signal", BUILT_IN)
@pytest.mark.parametrize("function", [needs_everything, has_a_default, partial(needs_a_row, row=1)])
async def test_what_a_built_in_signal_gives_may_be_required(signal, function):
    chosen = bound(signal)
    chosen.connect(function)
    await chosen.send(Mailer)


def test_a_custom_signal_may_be_sent_with_any_keywords():
    bound("on_verify").connect(needs_a_row)


def test_a_batch_receiver_gets_lists():
    options = Options(batch=Batch())
    bound("post_save").connect(of_a_batch, options)
    for name in ("post_save", "on_verify"):
        with pytest.raises(SignalError, match=r"requires `instance`.*did you mean 'instances'\?"):
            bound(name).connect(needs_everything, options)


def test_the_lists_of_keywords_are_those_that_receivers_get():
    assert len(set(BUILT_IN_KEYWORDS)) == len(BUILT_IN_KEYWORDS)
    assert set(CUSTOM_KEYWORDS) < set(BUILT_IN_KEYWORDS)


def test_a_receiver_that_is_not_async_is_refused():
    def receiver(sender, instance, **kwargs): ...

    text = refusal(receiver)
    assert "receiver must be async (`async def`): model operations are awaited" in text
    assert "`await asyncio.to_thread(function, …)`" in text


def test_an_async_generator_is_refused():
    async def receiver(sender, instance, **kwargs):
        yield

    assert "must be async" in refusal(receiver)


def test_a_partial_of_what_is_not_async_is_refused():
    def receiver(sender, **kwargs): ...

    assert "must be async" in refusal(partial(receiver, colour="red"))


def test_a_callable_object_that_is_not_async_is_refused():
    class Receiver:
        def __call__(self, sender, **kwargs): ...

    assert "Receiver must be async" in refusal(Receiver())


def test_a_class_is_refused_because_calling_it_awaits_nothing():
    class Receiver:
        def __init__(self, sender, **kwargs): ...

        async def __call__(self, sender, **kwargs): ...

    assert "Receiver must be async" in refusal(Receiver)


def test_a_receiver_whose_signature_cannot_be_read_is_refused():
    async def receiver(sender, instance, **kwargs): ...

    receiver.__signature__ = "a secret"
    assert "receiver has no readable signature: " in refusal(receiver)


def test_the_error_names_the_receiver():
    def somewhere(sender, **kwargs): ...

    assert (
        f"the receiver {__name__}.test_the_error_names_the_receiver.<locals>.somewhere"
        in refusal(somewhere)
    )


def test_what_is_refused_is_not_connected():
    signal = Signal()
    with pytest.raises(SignalError):
        signal.connect(lambda sender, **kwargs: None)
    assert signal.receivers == ()


def test_a_broken_contract_is_a_configuration_error():
    with pytest.raises(ConfigurationError):
        check("not callable")


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (plain, "plain"),
        (partial(partial(plain, a=1), b=2), "plain"),
        (Mailer().on_save, "Mailer.on_save"),
        (Mailer.on_delete, "Mailer.on_delete"),
        (Mailer(), "Mailer"),
    ],
)
def test_a_receiver_is_named_after_its_module_and_place(function, name):
    assert describe(function) == f"{__name__}.{name}"
    assert Receiver(function, Options()).name == f"{__name__}.{name}"


def test_a_durable_name_takes_the_place_of_the_other():
    assert Receiver(plain, Options(name="welcome-mail")).name == "welcome-mail"


@pytest.mark.parametrize(
    ("wanted", "changes", "answer"),
    [
        ((), {}, True),
        (("email",), None, True),
        (("email",), {}, False),
        (("email",), {"name": {"new": "Ada"}}, False),
        (("email", "name"), {"name": {"new": "Ada"}}, True),
    ],
)
def test_a_receiver_wants_its_fields_or_what_nobody_knows(wanted, changes, answer):
    assert Receiver(plain, Options(when_changed=wanted)).wants(changes) is answer
