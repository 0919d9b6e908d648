"""Registration: which receivers run in workers, in which group, and what is checked when."""

from typing import Any

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

import edgy_bus as edgy
from edgy_bus.errors import ConfigurationError, ContractError, SignalError
from edgy_bus.registration import Registration
from edgy_bus.signals import PRE_SIGNALS, post_save, post_update, pre_save
from tests.support import Told


async def hear(sender: Any, instance: Any, **kwargs: Any) -> None: ...


async def hear_too(sender: Any, instance: Any, **kwargs: Any) -> None: ...


def declare(own: edgy.Registry) -> Any:
    class User(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)
        email: str = edgy.CharField(max_length=100)

        class Meta:
            registry = own

    return User


@pytest.fixture
def registry() -> edgy.Registry:
    return edgy.Registry("sqlite:///never.sqlite")


def registration(*registries: edgy.Registry, **options: Any) -> Registration:
    made = Registration(
        options.pop("service", "accounts"),
        options.pop("group", "accounts"),
        options.pop("patterns", None),
        local=options.pop("local", False),
    )
    for registry in registries:
        made.add(registry)
    return made


class Contract(BaseModel):
    email: str


# Models


def test_two_models_of_one_name_are_refused_at_the_start_of_a_bus_with_a_broker() -> None:
    registries = [edgy.Registry(f"sqlite:///never{number}.sqlite") for number in range(2)]
    for registry in registries:
        declare(registry)
    registration(registries[0]).complete()
    registration(*registries, local=True).complete()
    with pytest.raises(ConfigurationError, match="two models of the name 'User'"):
        registration(*registries).complete()


# Which receivers run in workers


def test_a_receiver_runs_in_workers_unless_it_is_local_or_its_signal_is_not_published(
    registry: edgy.Registry,
) -> None:
    User = declare(registry)
    post_save(User, name="mail")(hear)
    post_update(User, name="mail", group="search")(hear)
    post_save(User, name="here", local=True)(hear_too)
    everything = registration(registry).subscriptions()
    assert [(one.group, one.model, one.signal, one.name) for one in everything] == [
        ("accounts", "accounts.User", "post_save", "mail"),
        ("search", "accounts.User", "post_update", "mail"),
    ]
    some = registration(registry, patterns="User.post_update").subscriptions()
    assert [one.signal for one in some] == ["post_update"]
    assert registration(registry, local=True).subscriptions() == []


@pytest.mark.parametrize("signal", PRE_SIGNALS)
def test_a_pre_receiver_of_a_class_never_runs_in_workers(
    registry: edgy.Registry, signal: str
) -> None:
    User = declare(registry)
    User.meta.signals[signal].connect(hear)
    assert registration(registry).subscriptions() == []


def test_a_pre_receiver_by_name_runs_in_workers(registry: edgy.Registry) -> None:
    watching = registration(service="audit", group="audit")
    watching.by_name("accounts.User", "pre_save", {})(hear)
    (subscription,) = watching.subscriptions()
    assert (subscription.group, subscription.signal) == ("audit", "pre_save")


def test_groups_are_those_that_have_receivers(registry: edgy.Registry) -> None:
    User = declare(registry)
    post_save(User, group="mail")(hear)
    post_save(User, group="search")(hear_too)
    registered = registration(registry)
    assert [group.group for group in registered.groups()] == ["mail", "search"]
    assert [group.group for group in registered.groups(["search"])] == ["search"]
    with pytest.raises(
        ConfigurationError, match="no receiver runs in group 'main'; the groups are: mail, search"
    ):
        registered.groups(["main"])


def test_databases_are_those_of_registries_and_inboxes_each_once(registry: edgy.Registry) -> None:
    User, elsewhere = declare(registry), edgy.Database("sqlite:///elsewhere.sqlite")
    post_save(User, name="a", inbox=registry.database)(hear)
    post_save(User, name="b", inbox=elsewhere)(hear_too)
    registered = registration(registry)
    assert registered.databases() == [registry.database, elsewhere]
    assert registered.publishing_databases() == [registry.database]


# Names and options of a subscription by name


@pytest.mark.parametrize(
    ("signal", "said"),
    [
        ("post_svae", "did you mean 'post_save'?"),
        ("pre_sav", "did you mean 'pre_save'?"),
        ("User.post_save", "does not name a signal"),
    ],
)
def test_a_misspelt_signal_is_refused_at_once(signal: str, said: str) -> None:
    with pytest.raises(SignalError) as caught:
        registration().by_name("accounts.User", signal, {})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("signal", "keywords", "said"),
    [
        ("post_save", {"local": True}, "leave them out here"),
        ("post_save", {"on_commit": True}, "leave them out here"),
        ("post_save", {"retires": 3}, "did you mean 'retry'?"),
        ("pre_save", {"on_exhausted": "hold"}, "has no effect on pre_save"),
        ("pre_save", {"rows": True}, "rows=True does not fit pre_save"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_once(signal: str, keywords: Any, said: str) -> None:
    with pytest.raises(SignalError) as caught:
        registration().by_name("accounts.User", signal, keywords)
    assert said in str(caught.value)


def test_a_parameter_that_a_signal_does_not_give_is_refused_at_once() -> None:
    async def receiver(sender: Any, row: Any, **kwargs: Any) -> None: ...

    for signal in (*PRE_SIGNALS, "post_save"):
        with pytest.raises(SignalError, match="requires `row`"):
            registration().by_name("accounts.User", signal, {})(receiver)
    registration().by_name("accounts.User", "on_verify", {})(receiver)


def test_the_decorator_returns_the_function() -> None:
    assert registration().by_name("accounts.User", "post_save", {})(hear) is hear


class Aliased(BaseModel):
    address: str = Field(validation_alias="email")


class Composed(BaseModel):
    address: str = Field(validation_alias=AliasChoices("e_mail", "mail"))


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


def test_fields_are_checked_against_a_schema_when_a_worker_is_made() -> None:
    mail = registration(service="mail", group="mail")
    mail.by_name("a.User", "post_save", {"schema": Contract, "when_changed": ("emial",)})(hear)
    with pytest.raises(
        SignalError, match=r"test_registration.hear: when_changed names 'emial': Contract has no"
    ):
        mail.groups()


@pytest.mark.parametrize(
    ("schema", "field"),
    [(Contract, "email"), (Aliased, "email"), (Composed, "e_mail"), (Open, "email"), (None, "x")],
)
def test_fields_that_a_row_may_have_are_accepted(schema: Any, field: str) -> None:
    mail = registration(service="mail", group="mail")
    mail.by_name("a.User", "post_save", {"schema": schema, "when_changed": (field,)})(hear)
    assert len(mail.groups()) == 1


# Patterns


@pytest.mark.parametrize("pattern", ["post_svae", "User.post_svae", "pots_*"])
def test_a_pattern_that_misspells_a_built_in_signal_is_refused_at_once(pattern: str) -> None:
    for patterns in (pattern, ["post_save", pattern]):
        with pytest.raises(ConfigurationError, match=r"matches no signal: did you mean '.*post_"):
            registration(patterns=patterns)


def test_a_pattern_is_text() -> None:
    with pytest.raises(ConfigurationError, match="contains 5: write patterns of signals"):
        registration(patterns=[5])


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("Usr.*", "did you mean 'User.*'?"),
        ("on_verfy", "did you mean 'on_verify'?"),
        ("Invoice.post_save", ""),
    ],
)
def test_a_pattern_that_matches_no_known_signal_is_reported_at_the_start(
    registry: edgy.Registry, pattern: str, hint: str
) -> None:
    registered = registration(registry, patterns=["post_*", pattern])
    declare(registry).meta.signals.on_verify = edgy.Signal()
    with Told() as told:
        registered.complete()
    report = {"pattern": pattern, "where": "Bus(publish=…)", "hint": hint}
    assert told.all == [("publish.unmatched", report)]


def test_patterns_are_not_reported_where_no_model_is_known(registry: edgy.Registry) -> None:
    with Told() as told:
        registration(registry, patterns=["User.*"]).complete()
    assert told.all == []


def test_patterns_of_a_model_are_checked_against_its_own_signals(registry: edgy.Registry) -> None:
    shop = registry

    class Draft(edgy.Model):
        id: int = edgy.BigIntegerField(primary_key=True)

        class Meta:
            registry = shop
            publish = ("post_save", "on_print")

    registered = registration(registry)
    with Told() as told:
        registered.complete()
    assert [fields["pattern"] for fields in told.of("publish.unmatched")] == ["on_print"]
    Draft.meta.signals.on_print = edgy.Signal()
    with Told() as told:
        registered.complete()
    assert told.all == []


# Local mode


class Address(BaseModel):
    email: int


async def test_a_schema_reads_rows_in_local_mode_too(sqlite_url: str) -> None:
    own = edgy.Registry(sqlite_url)
    local = registration(own, local=True)
    User, given = declare(own), []

    @local.by_name("accounts.User", "post_save", {"schema": Address})
    async def receiver(sender: Any, instance: Any, model_instance: Any, **kwargs: Any) -> None:
        given.append((sender, instance, model_instance))

    async with own:
        await own.create_all()
        await User.query.create(email="5")
        read = Address(email=5)
        assert given == [("accounts.User", read, read)]
        with pytest.raises(ContractError) as caught:
            await User.query.create(email="planted@example.com")
    assert str(caught.value) == "the row does not fit Address: email (int_parsing)"
    assert caught.value.__cause__ is None


def test_fields_are_checked_when_a_name_meets_its_model_in_local_mode(
    registry: edgy.Registry,
) -> None:
    local = registration(registry, local=True)
    local.by_name("accounts.User", "post_save", {"when_changed": ("emial",)})(hear)
    with pytest.raises(SignalError, match=r"did you mean 'email'\?"):
        declare(registry)


def test_options_of_workers_may_stand_on_a_receiver_that_runs_here(
    registry: edgy.Registry,
) -> None:
    local = registration(registry, local=True)
    User = declare(registry)
    keywords: Any = {"retry": edgy.Retry(attempts=2), "group": "mail", "deadline": 3}
    local.by_name("accounts.User", "pre_save", keywords)(hear)
    assert User.meta.signals.pre_save.find(hear).options.group == "mail"


def test_a_signal_that_is_declared_after_its_subscription_is_connected_at_the_start(
    registry: edgy.Registry,
) -> None:
    local = registration(registry, local=True)
    User = declare(registry)
    local.by_name("accounts.User", "on_verify", {})(hear)
    User.meta.signals.on_verify = edgy.Signal()
    assert User.meta.signals.on_verify.receivers == ()
    with Told() as told:
        local.complete()
    assert [one.function for one in User.meta.signals.on_verify.receivers] == [hear]
    assert told.all == []


@pytest.mark.parametrize("local", [True, False])
def test_a_subscription_to_a_signal_that_its_model_lacks_is_reported(
    registry: edgy.Registry, local: bool
) -> None:
    registered = registration(registry, local=local)
    declare(registry)
    registered.by_name("accounts.User", "on_verify", {"name": "mail"})(hear)
    registered.by_name("accounts.User", "post_save", {})(hear)
    registered.by_name("billing.User", "on_pay", {})(hear)
    with Told() as told:
        registered.complete()
    assert told.all == [
        (
            "signal.undeclared",
            {"model": "accounts.User", "signal": "on_verify", "receiver": "mail"},
        )
    ]


def test_a_receiver_that_was_disconnected_stays_disconnected(registry: edgy.Registry) -> None:
    local = registration(registry, local=True)
    User = declare(registry)
    local.by_name("accounts.User", "post_save", {})(hear)
    User.meta.signals.post_save.disconnect(hear)
    local.by_name("accounts.User", "post_save", {"name": "b"})(hear_too)
    local.complete()
    assert [one.function for one in User.meta.signals.post_save.receivers] == [hear_too]


def test_a_pre_receiver_by_name_runs_here_in_local_mode(registry: edgy.Registry) -> None:
    local = registration(registry, local=True)
    User = declare(registry)
    pre_save(User)(hear)
    local.by_name("accounts.User", "pre_save", {})(hear_too)
    receivers = User.meta.signals.pre_save.receivers
    assert [receiver.function for receiver in receivers] == [hear, hear_too]
