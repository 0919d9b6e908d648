"""The options of a receiver: keywords, values and rules, all in this place.

`@post_save(User, …)`, `bus.receiver("accounts.User", …)` and `Options(…)` take the same keywords.
The typed dictionaries let a type checker read users' calls; `Options` checks values and
combinations.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, Protocol, TypedDict, Unpack, get_args

from pydantic import BaseModel
from sqlalchemy import Dialect, Executable

from edgy_bus.errors import ConfigurationError, SignalError
from edgy_bus.events import check_name
from edgy_bus.retrying import LONGEST, Retry, is_finite, shown
from edgy_bus.signals.spelling import suggestion

OnExhausted = Literal["dead_letter", "hold"]
Start = Literal["kept", "now"]
Filter = Callable[[Any], bool]
"""Returns whether a receiver is to be called with an instance."""

LONGEST_NAME = 200
"""Characters of a durable name: with its group, the name is a key of the inbox (255 characters)."""

LARGEST_BREAKER = 10_000
"""Rows with failed calls that a breaker may wait for; each process remembers them."""

LONGEST_BATCH = 3_600.0
"""The most seconds for which a batch may wait for more events."""


# Immutable as DEFAULT_BREAKER is, so that all receivers share the value.
_DEFAULT_RETRY = Retry()


class Inbox(Protocol):
    """The part of a database that an inbox uses; `edgy_bus.Database` implements this protocol."""

    @property
    def dialect(self) -> Dialect:
        """SQLAlchemy's dialect for this kind of database."""

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """Open a transaction of the current task."""

    async def run(
        self, statement: Executable, parameters: Mapping[str, object] | None = None
    ) -> Any:
        """Run a statement in the open transaction."""


@dataclass(frozen=True, slots=True)
class Batch:
    """How many events a batch receiver is called with.

    A batch is full with `size` events, and is not kept for longer than `wait` seconds after its
    first event, nor when its partition has as much in hand as it may have: then a batch is smaller.
    All its events come from the same partition, and each from another row unless the receiver is
    `ordered=False`. When the receiver raises, each event is tried again alone. The receiver may
    return an outcome for all events, or a mapping from `event.id` to outcomes.
    In the process of the operation, the receiver is called with a single instance, and with None in
    place of its event.
    """

    size: int = 100
    wait: float = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or not is_finite(self.size) or self.size < 1:
            raise SignalError(f"Batch(size={shown(self.size)}): write a whole number of at least 1")
        if not is_finite(self.wait) or not 0 <= self.wait <= LONGEST_BATCH:
            raise SignalError(
                f"Batch(wait={shown(self.wait)}): write seconds from 0 to {LONGEST_BATCH:.0f}, "
                "wait=0.1 for example"
            )


def _is_duration(value: object) -> bool:
    return is_finite(value) and 0 < value <= LONGEST


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a receiver waits because its calls fail, whatever the event: its downstream is away.

    The breaker opens when the calls for `failures` different rows have failed in a process, and
    none has succeeded in between. No worker calls the receiver for `first` seconds then, and no
    attempt is counted; its neighbours go on. Afterwards each process makes one call at a time. If
    it fails, the breaker opens for twice as long, up to `most` seconds; if it succeeds, the breaker
    closes, and the receiver catches up in the order of each row. After `lasting` seconds without a
    success, the breaker stays closed and `retry` decides again: a bug must end in dead letters.

    Events that the receiver asks to have again (`RetryLater`), or gives up, are not counted.
    """

    failures: int = 20
    first: float = 5.0
    most: float = 60.0
    lasting: float = 3_600.0

    def __post_init__(self) -> None:
        if not isinstance(self.failures, int) or not 1 <= self.failures <= LARGEST_BREAKER:
            raise SignalError(
                f"Breaker(failures={shown(self.failures)}): write a whole number from 1 to "
                f"{LARGEST_BREAKER}"
            )
        for name in ("first", "most", "lasting"):
            seconds = getattr(self, name)
            if not _is_duration(seconds):
                raise SignalError(
                    f"Breaker({name}={shown(seconds)}): write seconds of more than 0, up to a year"
                )


DEFAULT_BREAKER = Breaker()


class SharedKeywords(TypedDict, total=False):
    """Options of every receiver."""

    name: str | None
    group: str | None
    when_changed: Iterable[str]
    where: Filter | None
    ordered: bool
    retry: Retry | None
    on_exhausted: OnExhausted
    breaker: Breaker | None
    start: Start | None
    deadline: float | None
    inbox: Inbox | None
    batch: Batch | None
    rows: bool


class ModelKeywords(SharedKeywords, total=False):
    """Options of a receiver that is connected to a model class."""

    local: bool
    on_commit: bool


class NameKeywords(SharedKeywords, total=False):
    """Options of a receiver that subscribes by the name of a model."""

    schema: type[BaseModel] | None


class OptionKeywords(ModelKeywords, NameKeywords, total=False):
    """Every option."""


@dataclass(frozen=True, slots=True, init=False)
class Options:
    """How a receiver is run. Each attribute is a keyword of the constructor.

    Attributes:
        name: the durable name, under which a group remembers the events that the receiver has
            handled; `module.qualname` of the function by default.
        group: the consumer group of the receiver; the bus's own by default.
        local: run the receiver in the process of the operation, also when the bus has a broker.
        on_commit: call a receiver of this process after the outermost commit.
        when_changed: call the receiver only if one of these fields has changed, or if no changes
            are known.
        where: call the receiver only for an instance for which `where(instance)` is true. Sets
            have no instance, and are not filtered.
        ordered: False lets a worker run the receiver for several events of a row side by side, and
            in any order.
        retry: when a failed call is repeated.
        on_exhausted: the fate of an event after the last failed call. "dead_letter" keeps the event
            in the dead letters and goes on with its row; "hold" parks the event, and every later
            event of its row for this receiver, until an operator decides (`edgy-bus held`,
            `edgy-bus release`).
        breaker: when the receiver waits because every call fails, for example because a service
            that it calls is away; by default after failed calls for 20 rows. None: never. See
            `Breaker`.
        start: where the receiver begins when its group does not have it yet. "kept" begins with the
            oldest event that the streams keep, "now" with events to come. By default, receivers of
            a new group begin with "kept", and new receivers of an older group with "now".
        deadline: seconds that a call may take; the worker's own by default.
        inbox: the database in whose transaction the receiver runs, once per event and in the order
            of every row.
        batch: call the receiver with several events, as `instances` and `events`; see `Batch`.
        schema: a pydantic model that reads the row, for a receiver without a model class.
        rows: call a receiver of this process for each row of a set, as a worker does, instead of
            once with the QuerySet.

    Raises:
        SignalError: for an unknown option, a wrong value, or options that exclude each other.
    """

    name: str | None = None
    group: str | None = None
    local: bool = False
    on_commit: bool = False
    when_changed: tuple[str, ...] = ()
    where: Filter | None = None
    ordered: bool = True
    retry: Retry = _DEFAULT_RETRY
    on_exhausted: OnExhausted = "dead_letter"
    breaker: Breaker | None = DEFAULT_BREAKER
    start: Start | None = None
    deadline: float | None = None
    inbox: Inbox | None = None
    batch: Batch | None = None
    schema: type[BaseModel] | None = None
    rows: bool = False

    def __init__(self, **keywords: Unpack[OptionKeywords]) -> None:
        _refuse_unknown(keywords)
        values: dict[str, object] = {**keywords}
        # Read once, because the fields may come from a generator.
        values["when_changed"] = _names_of_fields(keywords.get("when_changed", ()))
        # None stands for the default, so that callers may pass an optional policy on.
        if values.get("retry") is None:
            values["retry"] = _DEFAULT_RETRY
        for option in fields(self):
            value = values.get(option.name, option.default)
            _check_value(option.name, value)
            # A frozen dataclass refuses a plain assignment, also in its own constructor.
            object.__setattr__(self, option.name, value)
        _check_combinations(self)


class _Rule(NamedTuple):
    """The values that an option accepts, and the text that tells users how to write the option."""

    accepts: Callable[[object], bool]
    write: str


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_durable_name(value: object) -> bool:
    # The name is a part of keys, of log lines and of tables on a terminal: no name breaks a line.
    # Spaces inside are allowed, because names that are in use must stay usable.
    return (
        isinstance(value, str)
        and 0 < len(value) <= LONGEST_NAME
        and value.isprintable()
        and value == value.strip()
    )


def _is_filter(value: object) -> bool:
    # The answer of an async function is a coroutine, and every coroutine is true.
    functions = (value, getattr(value, "__call__", None))  # noqa: B004 - the method itself
    return callable(value) and not any(map(inspect.iscoroutinefunction, functions))


def _is_inbox(value: object) -> bool:
    methods = (getattr(value, "transaction", None), getattr(value, "run", None))
    return all(map(callable, methods)) and not isinstance(value, type)


def _is_schema(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _is_batch(value: object) -> bool:
    return isinstance(value, Batch)


def _is_breaker(value: object) -> bool:
    return isinstance(value, Breaker)


def _is_retry(value: object) -> bool:
    if not isinstance(value, Retry):
        return False
    # A subclass may have a constructor of its own, and numbers that no check has seen.
    Retry.__post_init__(value)
    return True


def _is_fate(value: object) -> bool:
    return value in get_args(OnExhausted)


def _is_start(value: object) -> bool:
    return value in get_args(Start)


def _or_none(accepts: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or accepts(value)


_RULES: Mapping[str, _Rule] = {
    "name": _Rule(
        _or_none(_is_durable_name),
        f'printable text of at most {LONGEST_NAME} characters, name="welcome-mail" for example',
    ),
    "group": _Rule(_or_none(_is_text), 'text, group="mail" for example'),
    "local": _Rule(_is_flag, "True or False"),
    "on_commit": _Rule(_is_flag, "True or False"),
    "rows": _Rule(_is_flag, "True or False"),
    "where": _Rule(
        _or_none(_is_filter),
        "a callable of the instance that is not async, where=lambda user: user.is_verified",
    ),
    "ordered": _Rule(_is_flag, "True or False"),
    "retry": _Rule(_is_retry, "retry=Retry(attempts=8)"),
    "on_exhausted": _Rule(_is_fate, '"dead_letter" or "hold"'),
    "breaker": _Rule(_or_none(_is_breaker), "breaker=Breaker()"),
    "start": _Rule(_or_none(_is_start), '"kept" or "now"'),
    "deadline": _Rule(
        _or_none(_is_duration), "seconds of more than 0, up to a year, deadline=30 for example"
    ),
    "inbox": _Rule(
        _or_none(_is_inbox),
        "the Database that the receiver writes to, inbox=database, or inbox=source.inbox of what "
        "publish() has returned",
    ),
    "batch": _Rule(_or_none(_is_batch), "batch=Batch(size=100, wait=0.1)"),
    "schema": _Rule(_or_none(_is_schema), "a pydantic model class, schema=UserContract"),
}

_ONLY_IN_WORKERS = (
    "group",
    "ordered",
    "retry",
    "on_exhausted",
    "breaker",
    "start",
    "deadline",
    "inbox",
    "batch",
    "schema",
)


def _refuse_unknown(keywords: Mapping[str, object]) -> None:
    names = [option.name for option in fields(Options)]
    for keyword in keywords:
        if keyword not in names:
            hint = suggestion(keyword, names, "the options are")
            raise SignalError(f"a receiver has no option {keyword!r}{hint}")


def _names_of_fields(value: object) -> tuple[str, ...]:
    # Text is an iterable of texts too, of its letters.
    if isinstance(value, str):
        raise SignalError(f'when_changed={value!r} is text: write when_changed=("{value}",)')
    names = tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(name, str) for name in names):
        raise SignalError(
            f"when_changed={value!r}: write names of fields, "
            'when_changed=("email", "name") for example'
        )
    return names


def _check_value(option: str, value: object) -> None:
    rule = _RULES.get(option)
    if rule is not None and not rule.accepts(value):
        # A URL that stands in place of a database may contain a password.
        text = type(value).__name__ if option == "inbox" else shown(value)
        raise SignalError(f"{option}={text}: write {rule.write}")


def _check_combinations(options: Options) -> None:
    if options.group is not None:
        _check_group(options.group)
    # Events of a row that run side by side finish in any order. An inbox would take the earlier
    # event for a repetition, and a hold would begin after later events.
    if options.inbox is not None and not options.ordered:
        raise SignalError("an inbox keeps the order of rows: leave out ordered=False, or the inbox")
    if options.on_exhausted == "hold" and not options.ordered:
        raise SignalError(
            'on_exhausted="hold" keeps the order of rows: leave out "hold", or ordered=False'
        )
    if options.local:
        _check_local(options)


def _check_group(group: str) -> None:
    try:
        check_name(group, "the group")
    except ConfigurationError as error:
        raise SignalError(str(error)) from None


def _check_local(options: Options) -> None:
    # An option without an effect is a mistake that nothing else would ever show.
    for option in fields(options):
        is_given = getattr(options, option.name) != option.default
        if is_given and option.name in _ONLY_IN_WORKERS:
            raise SignalError(
                f"{option.name} has no effect on a receiver that runs in the process of the "
                "operation (local=True, and every pre_* receiver of a class): leave it out"
            )
