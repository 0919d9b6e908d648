"""Errors of Redis become errors of the library, and say whether a later attempt can succeed."""

import asyncio

import pytest
from redis import exceptions

from edgy_bus.brokers.redis import conversations
from edgy_bus.brokers.redis.conversations import Conversations, conversation, translate
from edgy_bus.errors import BrokerError, BrokerUnavailable, LeaseLost


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ConnectionError("gone"),
        exceptions.TimeoutError("late"),
        exceptions.BusyLoadingError("loading"),
        exceptions.ReadOnlyError("replica"),
        exceptions.OutOfMemoryError("full"),
        exceptions.ResponseError("OOM command not allowed"),
        exceptions.ResponseError("MISCONF cannot save"),
        exceptions.ResponseError("UNBLOCKED the stream no longer exists"),
        OSError("reset"),
        TimeoutError(),
    ],
)
def test_errors_that_end_by_themselves_are_temporary(error: Exception) -> None:
    assert isinstance(translate(error), BrokerUnavailable)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (exceptions.AuthenticationError("WRONGPASS"), "credentials.*security"),
        (exceptions.NoPermissionError("NOPERM"), "credentials.*security"),
        (exceptions.ResponseError("WRONGTYPE"), "refuses: WRONGTYPE"),
        (
            exceptions.ResponseError("The user executing the script can't run this command"),
            "inside a script.*security",
        ),
        (exceptions.InvalidResponse("?"), "InvalidResponse"),
    ],
)
async def test_lasting_errors_are_not_temporary(error: Exception, text: str) -> None:
    with pytest.raises(BrokerError, match=text) as raised:
        async with conversation():
            raise error
    assert not isinstance(raised.value, BrokerUnavailable)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [LeaseLost("lost"), ValueError("no"), asyncio.CancelledError()])
async def test_other_errors_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        async with Conversations().turn():
            raise error
    assert raised.value is error


async def test_the_time_limit_includes_the_wait_for_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "MAX_CONVERSATIONS", 1)
    limited = Conversations()
    async with limited.turn():
        with pytest.raises(BrokerUnavailable, match="TimeoutError"):
            async with limited.turn(0.01):
                pytest.fail("two turns at the same time")
    async with limited.turn(1):
        pass
