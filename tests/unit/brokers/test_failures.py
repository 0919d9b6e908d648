"""Errors of Redis become errors of the library, which say whether the call changed something."""

import asyncio

import pytest
from redis import exceptions
from redis._parsers import BaseParser

from edgy_bus.brokers.redis.failures import Failure, classify, translate
from edgy_bus.errors import (
    BrokerError,
    BrokerNotReady,
    BrokerUnavailable,
    ConfigurationError,
    LeaseLost,
    UnsupportedBroker,
)

NOT_READY, WRONG_SERVER = Failure.NOT_READY, Failure.WRONG_SERVER
REPLIES = {
    "LOADING Redis is loading the dataset in memory": NOT_READY,
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL": NOT_READY,
    "NOSCRIPT No matching script. Please use EVAL.": NOT_READY,
    "OOM command not allowed when used memory > 'maxmemory'.": NOT_READY,
    "OOM command not allowed when used memory > 'maxmemory'. script: 5f, on @user_script:9.": (
        NOT_READY
    ),
    "MISCONF Redis is configured to save RDB snapshots, but is unable to persist": NOT_READY,
    "NOREPLICAS Not enough good replicas to write.": NOT_READY,
    "TRYAGAIN Multiple keys request during rehashing of slot": NOT_READY,
    "CLUSTERDOWN Hash slot not served": NOT_READY,
    "ERR max number of clients reached": NOT_READY,
    "READONLY You can't write against a read only replica.": WRONG_SERVER,
    "READONLY You can't write against a read only replica. script: 5f, on @user_script:9.": (
        WRONG_SERVER
    ),
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": (
        WRONG_SERVER
    ),
    # Redis 6.2 quotes the reply of the command.
    "ERR Error running script (call to f_5f): @user_script:9: @user_script: 9: -READONLY You "
    "can't write against a read only replica.": WRONG_SERVER,
    "ERR Error running script (call to f_5f): @user_script:7: -OOM command not allowed when used "
    "memory > 'maxmemory'.": NOT_READY,
    "ERR Error running script (call to f_5f): @user_script:7: WRONGTYPE Operation against a key "
    "holding the wrong kind of value": Failure.WRONG_TYPE,
    "UNBLOCKED the stream key no longer exists": Failure.NO_ANSWER,
    "MOVED 3999 127.0.0.1:6381": Failure.CLUSTER,
    "ASK 3999 127.0.0.1:6381": Failure.CLUSTER,
    "CROSSSLOT Keys in request don't hash to the same slot": Failure.CLUSTER,
    "NOAUTH Authentication required.": Failure.CREDENTIALS,
    "WRONGPASS invalid username-password pair or user is disabled.": Failure.CREDENTIALS,
    "NOPERM User worker has no permissions to run the 'xadd' command": Failure.CREDENTIALS,
    "ERR The user executing the script can't run this command or subcommand script: 5f": (
        Failure.NO_RIGHT
    ),
    "ERR ACL failure in script: User u has no permissions to run the 'set' command": (
        Failure.NO_RIGHT
    ),
    "WRONGTYPE Operation against a key holding the wrong kind of value": Failure.WRONG_TYPE,
    "ERR unknown command 'CLIENT', with args beginning with: 'ID'": Failure.OTHER,
    "ERR value is not an integer or out of range": Failure.OTHER,
    "ERR the text of a READONLY value": Failure.OTHER,
}
ERRORS = {
    exceptions.ConnectionError("gone"): Failure.NO_ANSWER,
    exceptions.TimeoutError("late"): Failure.NO_ANSWER,
    ConnectionResetError("reset"): Failure.NO_ANSWER,
    TimeoutError(): Failure.NO_ANSWER,
    asyncio.IncompleteReadError(b"", 5): Failure.NO_ANSWER,
    RuntimeError(
        "unable to perform operation on <TCPTransport closed=True reading=False 0x5>; "
        "the handler is closed"
    ): Failure.NO_ANSWER,
    exceptions.InvalidResponse("?"): Failure.OTHER,
    RuntimeError("another error"): None,
    ValueError("no"): None,
    LeaseLost("lost"): None,
    asyncio.CancelledError(): None,
}


@pytest.mark.parametrize(("text", "means"), REPLIES.items())
def test_a_reply_is_classified_as_the_client_raises_it(text: str, means: Failure) -> None:
    """Servers put ERR in front, which the client takes away; it also takes away known words."""
    error = BaseParser.parse_error(text)
    assert classify(error) is means
    # Releases of the client that have no class for a word leave the word in the text.
    if means is not NOT_READY or "max number" not in text:
        assert classify(exceptions.ResponseError(text.removeprefix("ERR "))) is means


@pytest.mark.parametrize(("error", "means"), ERRORS.items(), ids=repr)
def test_an_error_of_the_network_is_classified(error: BaseException, means: Failure | None) -> None:
    assert classify(error) is means
    assert classify(error, sent=False) is (
        Failure.NOT_SENT if means is Failure.NO_ANSWER else means
    )


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (NOT_READY, BrokerNotReady),
        (WRONG_SERVER, BrokerNotReady),
        (Failure.NO_ANSWER, BrokerUnavailable),
        (Failure.CLUSTER, UnsupportedBroker),
        (Failure.CREDENTIALS, BrokerError),
        (Failure.NO_RIGHT, BrokerError),
        (Failure.WRONG_TYPE, BrokerError),
        (Failure.OTHER, BrokerError),
    ],
)
def test_every_failure_has_one_error(failure: Failure, kind: type[BrokerError]) -> None:
    texts = [text for text, means in REPLIES.items() if means is failure]
    assert texts
    for text in texts:
        error = translate(BaseParser.parse_error(text))
        assert type(error) is kind


def test_a_text_with_braces_stays_as_it_is() -> None:
    assert "'{0}'" in str(translate(exceptions.ResponseError("unknown command '{0}'")))


def test_a_cluster_is_a_mistake_in_the_configuration() -> None:
    error = translate(BaseParser.parse_error("MOVED 3999 127.0.0.1:6381"))
    assert isinstance(error, ConfigurationError)
    assert "node of a Redis Cluster" in str(error)
