"""Conversations end in time, and their errors say whether anything was sent."""

import asyncio

import pytest
from redis import exceptions

from edgy_bus.brokers.redis.conversations import Conversations, conversation
from edgy_bus.errors import BrokerError, BrokerNotReady, BrokerUnavailable, LeaseLost


async def test_an_error_is_translated_and_is_the_cause() -> None:
    error = exceptions.AuthenticationError("WRONGPASS")
    with pytest.raises(BrokerError, match=r"credentials.*security") as raised:
        async with conversation():
            raise error
    assert not isinstance(raised.value, BrokerUnavailable)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(("sent", "kind"), [(False, BrokerNotReady), (True, BrokerUnavailable)])
async def test_an_error_before_anything_was_sent_changed_nothing(
    sent: bool, kind: type[BrokerError]
) -> None:
    with pytest.raises(BrokerUnavailable) as raised:
        async with Conversations().turn() as attempt:
            attempt.sent = sent
            raise exceptions.ConnectionError("gone")
    assert type(raised.value) is kind


@pytest.mark.parametrize("error", [LeaseLost("lost"), ValueError("no"), asyncio.CancelledError()])
async def test_other_errors_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        async with Conversations().turn():
            raise error
    assert raised.value is error


async def test_the_time_limit_includes_the_wait_for_a_turn() -> None:
    limited = Conversations(connections=2)
    async with limited.turn():
        with pytest.raises(BrokerNotReady, match="TimeoutError"):
            async with limited.turn(0.01):
                pytest.fail("two turns at the same time")
    async with limited.turn(1):
        pass
