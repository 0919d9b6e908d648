"""The receivers of a bus: subscribed by class or by name, here or in workers, with their group."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from edgy_bus import telemetry
from edgy_bus.database import Database
from edgy_bus.errors import ConfigurationError, SignalError
from edgy_bus.publication import Publication
from edgy_bus.runtime.subscriptions import Snapshot, Subscription, Subscriptions
from edgy_bus.signals import (
    BUILT_IN,
    PRE_SIGNALS,
    Fields,
    NameKeywords,
    Options,
    Receiver,
    ReceiverFunction,
    check,
    check_before,
    check_fits,
    read_by,
    refuse_namesake,
    resembling,
    suggestion,
)
from edgy_bus.sources import Source, SourceModel
from edgy_bus.telemetry import catalogue

F = TypeVar("F", bound=ReceiverFunction)

Read = Callable[[Mapping[str, Any]], Any]
"""Makes the instance of a receiver from an event's row."""


class Connect(Protocol):
    """A decorator that connects a receiver, and returns the function unchanged."""

    def __call__(self, function: F, /) -> F: ...


@dataclass(frozen=True, slots=True)
class NamedReceiver:
    """A receiver that subscribed by the name of a model."""

    model: str
    """With the service: `accounts.User`."""
    signal: str
    receiver: Receiver

    @property
    def subject(self) -> tuple[str, str]:
        """Return the model and the signal."""
        return self.model, self.signal


class Registration:
    """Knows every receiver of a bus, and whether workers run the receiver.

    Args:
        service: the service of the sources' models.
        group: the group of receivers without a group of their own.
        publish: which signals go to the broker, as patterns of `signal` or `Model.signal`; None for
            all.
        local: whether the bus is in local mode, in which every receiver runs in this process.

    Attributes:
        sources: the sources of the models.
        publication: which signals go to the broker.
    """

    def __init__(
        self, service: str, group: str, publish: Iterable[str] | None, *, local: bool
    ) -> None:
        self.sources: list[Source] = []
        self._service = service
        self._group = group
        self.publication = Publication(publish)
        self._local = local
        self._named: list[NamedReceiver] = []
        self._connected: set[tuple[int, int]] = set()

    def add(self, source: Source) -> None:
        """Take the receivers of a source's models, of present and future models."""
        self.sources.append(source)
        if self._local:
            source.on_described(self._connect)

    def by_name(self, model: str, signal: str, keywords: NameKeywords) -> Connect:
        """Return a decorator that subscribes a receiver to a signal by the name of its model.

        Raises:
            SignalError: for a name that cannot belong to a model or a signal, or a wrong option.
        """
        _check_names(model, signal, self._service)
        options = Options(**keywords)
        _check_by_name(signal, options)

        def connect(function: F) -> F:
            check_fits(check(function), signal, options)
            self._subscribe(NamedReceiver(model, signal, Receiver(function, options, model)))
            if self._local:
                for present in self._models():
                    self._connect(present)
            return function

        return connect

    def _subscribe(self, named: NamedReceiver) -> None:
        """Add a receiver; a function that subscribed to the signal before has new options."""
        receiver = named.receiver
        siblings = [each for each in self._named if each.subject == named.subject]
        in_group = [each.receiver for each in siblings if self._share_a_group(each, named)]
        refuse_namesake(receiver, in_group, ".".join(named.subject))
        former = [each for each in siblings if each.receiver.key == receiver.key]
        self._named = [each for each in self._named if each not in former] + [named]

    def _share_a_group(self, first: NamedReceiver, second: NamedReceiver) -> bool:
        groups = {each.receiver.options.group or self._group for each in (first, second)}
        return len(groups) == 1

    def complete(self) -> None:
        """Connect receivers to signals that were declared after their model; report the rest.

        A custom signal is declared by an assignment after its model class. So a receiver may
        subscribe by name before its signal exists, and a pattern may name the signal.

        Raises:
            ConfigurationError: for a pattern with a typing error, and for two models of one name.
        """
        self.publication.check(list(self._models()))
        if not self._local:
            _check_one_model_of_a_name(self._models())
        self._report_missing_models()
        for model in self._models():
            if self._local:
                self._connect(model)
            for named in self._named_of(model):
                if named.signal not in model.signals:
                    self._report_undeclared(named)

    def model_name(self, model: SourceModel) -> str:
        """Return the name of a model with its service: `accounts.User`."""
        return f"{self._service}.{model.name}"

    def model_names(self) -> list[str]:
        """Return the names of all models, with the service."""
        return [self.model_name(model) for model in self._models()]

    def subscriptions(self) -> list[Subscription]:
        """Return every receiver that runs in workers."""
        if self._local:
            return []
        subscriptions = [self._by_name(named) for named in self._named]
        for model in self._models():
            for signal in model.signals:
                # A pre_* receiver of a class has its say before the write, in the caller's task.
                if signal.name in PRE_SIGNALS or not self.publication.includes(model, signal.name):
                    continue
                subscriptions += [
                    self._by_class(model, signal.name, receiver)
                    for receiver in signal.receivers
                    if not receiver.options.local
                ]
        return subscriptions

    def connected(self) -> Mapping[str, int]:
        """Return the number of receivers by the module of their function."""
        receivers = [named.receiver for named in self._named]
        for model in self._models():
            receivers += [receiver for signal in model.signals for receiver in signal.receivers]
        return Counter(str(getattr(each.function, "__module__", "")) for each in receivers)

    def groups(self, names: Iterable[str] | None = None) -> list[Subscriptions]:
        """Return the subscriptions of these groups, or of every group that has receivers.

        Raises:
            ConfigurationError: for a group without receivers, and for a receiver that names a
                field which its schema does not have.
        """
        # At a worker's start, because a schema may be completed after its subscription.
        for named in self._named:
            _check_fields(named)
        subscriptions = self.subscriptions()
        present = sorted({subscription.group for subscription in subscriptions})
        chosen = present if names is None else list(names)
        # The worker of a misspelt group would run for ever without an event.
        for name in chosen:
            if name not in present:
                meant = resembling(name, present)
                hint = "" if meant is None else f" (did you mean {meant!r}?)"
                raise ConfigurationError(
                    f"no receiver runs in group {name!r}; the groups are: "
                    f"{', '.join(present) or 'none'}{hint}"
                )
        return [Subscriptions(name, subscriptions) for name in chosen]

    def databases(self) -> list[Database]:
        """Return the databases of the sources and of the receivers' inboxes."""
        # The owner of a database of another kind connects that database.
        inboxes = [subscription.receiver.options.inbox for subscription in self.subscriptions()]
        ours = [inbox for inbox in inboxes if isinstance(inbox, Database)]
        return list(dict.fromkeys([*self.publishing_databases(), *ours]))

    def publishing_databases(self) -> list[Database]:
        """Return the databases of the sources."""
        return list(dict.fromkeys(source.database for source in self.sources))

    def _models(self) -> Iterator[SourceModel]:
        for source in self.sources:
            yield from source.described()

    def _named_of(self, model: SourceModel) -> list[NamedReceiver]:
        name = self.model_name(model)
        return [named for named in self._named if named.model == name]

    def _by_class(self, model: SourceModel, signal: str, receiver: Receiver) -> Subscription:
        name = self.model_name(model)
        return self._subscription(name, signal, receiver, model.sender, model.read, typed=True)

    def _by_name(self, named: NamedReceiver) -> Subscription:
        read = _reader_by(named.receiver.options.schema)
        return self._subscription(named.model, named.signal, named.receiver, named.model, read)

    def _subscription(
        self,
        model: str,
        signal: str,
        receiver: Receiver,
        sender: Any,
        read: Read,
        *,
        typed: bool = False,
    ) -> Subscription:
        group = receiver.options.group or self._group
        return Subscription(group, model, signal, receiver, sender, read, typed)

    def _connect(self, model: SourceModel) -> None:
        """Connect receivers by name to the model of this name, each at most once."""
        signals = model.signals
        for named in self._named_of(model):
            # A receiver that the program has disconnected meanwhile stays disconnected.
            key = (id(model), id(named))
            if named.signal in signals and key not in self._connected:
                self._connected.add(key)
                receiver = named.receiver
                signal = signals[named.signal]
                signal.connect(receiver.function, receiver.options, sender=receiver.sender)

    def _report_missing_models(self) -> None:
        """Report receivers by the name of a model that this service lacks, as far as known."""
        known = self.model_names()
        # Without a model, this process knows no name to compare with.
        for named in self._named if known else ():
            if named.model.rpartition(".")[0] != self._service or named.model in known:
                continue
            hint = suggestion(named.model, known, "the models are").removeprefix(": ")
            telemetry.emit(
                catalogue.ModelUndeclared(
                    model=named.model,
                    receiver=named.receiver.name,
                    hint=hint.removeprefix("; "),
                )
            )

    def _report_undeclared(self, named: NamedReceiver) -> None:
        telemetry.emit(
            catalogue.SignalUndeclared(
                model=named.model, signal=named.signal, receiver=named.receiver.name
            )
        )


def _check_one_model_of_a_name(models: Iterable[SourceModel]) -> None:
    senders: dict[str, Any] = {}
    for model in models:
        namesake = senders.setdefault(model.name, model.sender)
        # Both would share streams, and receivers of one would get rows of the other.
        if namesake is not model.sender:
            raise ConfigurationError(
                f"the bus has two models of the name {model.name!r}, {_place(namesake)} and "
                f"{_place(model.sender)}: give one of the classes another name, or give each "
                "registry a bus with a service of its own"
            )


def _place(sender: Any) -> str:
    return f"{sender.__module__}.{sender.__qualname__}"


def _check_names(model: str, signal: str, service: str) -> None:
    """Check that two texts name a model and a signal; `service` serves as the example."""
    if not isinstance(model, str):
        raise SignalError(
            f'bus.receiver takes the name of a model, "{service}.User", not {model!r}: a receiver '
            "of a class is connected with @post_save(User)"
        )
    if not isinstance(signal, str):
        raise SignalError(f'bus.receiver takes the name of a signal, "post_save", not {signal!r}')
    # The name of a service may contain dots, the name of a class does not.
    owner, _, name = model.rpartition(".")
    if not owner or not name:
        raise SignalError(
            f'{model!r} does not name a model: write "service.Model", for example "{service}.User"'
        )
    if "." in signal or not signal:
        raise SignalError(f'{signal!r} does not name a signal: write for example "post_save"')
    # Every other name may be a custom signal of a model whose class is elsewhere.
    meant = resembling(signal, BUILT_IN)
    if meant is not None:
        raise SignalError(f"{signal!r} does not name a signal: did you mean {meant!r}?")


def _check_by_name(signal: str, options: Options) -> None:
    if options.local or options.on_commit:
        raise SignalError(
            "local and on_commit are options of a receiver of a model class, "
            "@post_save(User, local=True): leave them out here"
        )
    if signal not in PRE_SIGNALS:
        return
    check_before(signal, options)
    if options.on_exhausted == "hold":
        raise SignalError(
            f'on_exhausted="hold" has no effect on {signal}: events of pre_* signals have no '
            "order, which a held row would keep"
        )


def _reader_by(schema: type[BaseModel] | None) -> Read:
    return Snapshot if schema is None else partial(read_by, schema)


def _check_fields(named: NamedReceiver) -> None:
    """Check `when_changed` of a receiver by name, if its schema names the fields of the row."""
    schema = named.receiver.options.schema
    fields = None if schema is None else _fields_of(schema)
    if fields is None:
        return
    try:
        fields.check(named.receiver.options)
    except SignalError as error:
        raise SignalError(f"the receiver {named.receiver.name}: {error}") from None


def _fields_of(schema: type[BaseModel]) -> Fields | None:
    """Return the fields that a schema reads from a row; None if their names are not certain."""
    aliases = [field.validation_alias for field in schema.model_fields.values()]
    # With composed aliases or extra fields, a row may have names that no field has.
    composed = any(alias is not None and not isinstance(alias, str) for alias in aliases)
    if composed or schema.model_config.get("extra") == "allow":
        return None
    names = [*schema.model_fields, *(alias for alias in aliases if isinstance(alias, str))]
    return Fields(schema.__name__, names)
