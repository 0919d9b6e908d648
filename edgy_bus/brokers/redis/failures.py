"""What errors of Redis mean for the call that met them."""

import asyncio
import re
from collections.abc import Mapping
from enum import Enum

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from edgy_bus.errors import BrokerError, BrokerNotReady, BrokerUnavailable, UnsupportedBroker


class Failure(Enum):
    """Say what an error means for a call."""

    NOT_SENT = "not sent"
    """Nothing reached the server: the call changed nothing. Temporary."""
    NOT_READY = "not ready"
    """The server refused the call before the call changed anything. Temporary."""
    WRONG_SERVER = "wrong server"
    """The same, from a server that is a replica now. Its connections have to be closed."""
    NO_ANSWER = "no answer"
    """The call was sent, and may or may not have changed something. Temporary."""
    CLUSTER = "cluster"
    """The server is a node of a cluster, and another node has the keys."""
    CREDENTIALS = "credentials"
    NO_RIGHT = "no right"
    """A script ran a command that its user may not run."""
    WRONG_TYPE = "wrong type"
    OTHER = "other"


# The classes that redis-py has for the first word of a reply, most special first.
_CLASSES: tuple[tuple[type[BaseException], Failure], ...] = (
    (MasterDownError, Failure.WRONG_SERVER),
    (ReadOnlyError, Failure.WRONG_SERVER),
    (BusyLoadingError, Failure.NOT_READY),
    (NoScriptError, Failure.NOT_READY),
    (OutOfMemoryError, Failure.NOT_READY),
    (TryAgainError, Failure.NOT_READY),
    (ClusterDownError, Failure.NOT_READY),
    # Also the class of MOVED.
    (AskError, Failure.CLUSTER),
    (ClusterCrossSlotError, Failure.CLUSTER),
    (AuthenticationError, Failure.CREDENTIALS),
    (AuthorizationError, Failure.CREDENTIALS),
    (NoPermissionError, Failure.CREDENTIALS),
    (ConnectionError, Failure.NO_ANSWER),
    (TimeoutError, Failure.NO_ANSWER),
    (OSError, Failure.NO_ANSWER),
    (asyncio.IncompleteReadError, Failure.NO_ANSWER),
)
# The first word of a reply. Older releases of redis-py have fewer classes, and Redis before 7
# quotes such a reply within the error of a script. A script meets these before its first write.
_WORDS = {
    "LOADING": Failure.NOT_READY,
    "BUSY": Failure.NOT_READY,
    "NOSCRIPT": Failure.NOT_READY,
    "OOM": Failure.NOT_READY,
    "MISCONF": Failure.NOT_READY,
    "NOREPLICAS": Failure.NOT_READY,
    "TRYAGAIN": Failure.NOT_READY,
    "CLUSTERDOWN": Failure.NOT_READY,
    "UNBLOCKED": Failure.NO_ANSWER,
    "READONLY": Failure.WRONG_SERVER,
    "MASTERDOWN": Failure.WRONG_SERVER,
    "MOVED": Failure.CLUSTER,
    "ASK": Failure.CLUSTER,
    "CROSSSLOT": Failure.CLUSTER,
    "NOAUTH": Failure.CREDENTIALS,
    "WRONGPASS": Failure.CREDENTIALS,
    "NOPERM": Failure.CREDENTIALS,
    "WRONGTYPE": Failure.WRONG_TYPE,
}
# Redis 6.2 and 7.0 write the first where a script runs a command that its user may not run, later
# servers and Valkey the second.
_NO_RIGHT = ("can't run this command", "ACL failure in script")
_FULL = "max number of clients reached"
_REPLY = re.compile(r"(?:@user_script:.*?-|@user_script: ?\d+: |^-?)([A-Z]+)\b")

_TRANSLATIONS: Mapping[Failure, tuple[type[BrokerError], str]] = {
    Failure.NOT_SENT: (BrokerNotReady, "Redis does not answer: {}"),
    Failure.NOT_READY: (BrokerNotReady, "Redis cannot do this now: {}"),
    Failure.WRONG_SERVER: (BrokerNotReady, "Redis cannot do this now: {}"),
    Failure.NO_ANSWER: (BrokerUnavailable, "Redis does not answer: {}"),
    Failure.CLUSTER: (
        UnsupportedBroker,
        "the URL names a node of a Redis Cluster, which this release does not support: {}. Use a "
        "single primary, with replicas",
    ),
    Failure.CREDENTIALS: (
        BrokerError,
        "Redis refuses these credentials: {}. Check the user and password in the URL, and the "
        "user's rights (docs/security.md)",
    ),
    Failure.NO_RIGHT: (
        BrokerError,
        "Redis refuses a command inside a script: {}. Compare the user's rights with "
        "docs/security.md",
    ),
    Failure.WRONG_TYPE: (
        BrokerError,
        "a key of the bus has a value of another type: {}. A worker or relay that uses the key "
        "moves the value to another name, and reports both names",
    ),
    Failure.OTHER: (BrokerError, "Redis refuses: {}"),
}


def classify(error: BaseException, *, sent: bool = True) -> Failure | None:
    """Return what an error means, or None for an error that is not of Redis or the network.

    Args:
        error: the error of the client, of the event loop, or of a time limit.
        sent: whether the call, or a part of it, was sent before the error.
    """
    failure = _of_reply(str(error)) if isinstance(error, ResponseError) else None
    if failure is None:
        failure = next((means for kind, means in _CLASSES if isinstance(error, kind)), None)
    if failure is None and _is_closed_transport(error):
        failure = Failure.NO_ANSWER
    if failure is None and isinstance(error, RedisError):
        failure = Failure.OTHER
    if failure is Failure.NO_ANSWER and _FULL in str(error):
        return Failure.NOT_READY
    return Failure.NOT_SENT if failure is Failure.NO_ANSWER and not sent else failure


def _of_reply(text: str) -> Failure | None:
    """Return what a reply of the server means; None if its words say nothing."""
    if any(part in text for part in _NO_RIGHT):
        return Failure.NO_RIGHT
    return next((_WORDS[word] for word in _REPLY.findall(text) if word in _WORDS), None)


def _is_closed_transport(error: BaseException) -> bool:
    # uvloop raises this where the other side has reset a connection that nobody used.
    return isinstance(error, RuntimeError) and "closed" in str(error) and "ransport" in str(error)


def translate(error: BaseException | None, *, sent: bool = True) -> BrokerError | None:
    """Return the error of this package for an error of Redis, or None for another error.

    Temporary errors become `BrokerUnavailable`; `BrokerNotReady` if the call changed nothing.
    """
    failure = None if error is None else classify(error, sent=sent)
    if failure is None:
        return None
    kind, text = _TRANSLATIONS[failure]
    # redis-py takes the first word of many replies out of the text; the class says the same.
    return kind(text.format(f"{type(error).__name__}: {error}"))
