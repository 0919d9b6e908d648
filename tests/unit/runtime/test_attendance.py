"""Which receivers take part in a tenure, also when the broker's answers get lost."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgy_bus.brokers.base import Arrangement, Lease, Listed
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.runtime.attendance import Attendance
from edgy_bus.runtime.roster import GroupRoster
from edgy_bus.runtime.subscriptions import Subscriptions
from edgy_bus.runtime.term import Term
from edgy_bus.runtime.tools import Tools
from tests.support import PARTITION
from tests.unit.runtime.support import subscribe

LEASE = Lease(PARTITION, "mail", "w.1", 1, "epoch")
SIGNALS = ("accounts.User.post_save",)
Answer = Callable[[], Arrangement]


class Arranging:
    """A broker that gives prepared answers."""

    def __init__(self, *answers: Arrangement | Exception) -> None:
        self.answers = list(answers)

    async def arrange(self, *args: Any, **kwargs: Any) -> Arrangement:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def nudge(self, group: str) -> None: ...


def attendance_of(broker: Arranging) -> Attendance:
    async def nothing(sender: Any, **kwargs: Any) -> None: ...

    subscriptions = Subscriptions("mail", [subscribe(nothing, name=name) for name in "ab"])
    roster = GroupRoster(cast("Any", broker), subscriptions, 3600)
    roster.receivers = {name: Listed(SIGNALS, "kept", 0.0, 0.0) for name in "ab"}
    roster.forgotten = {"gone": Listed(SIGNALS, "kept", 0.0, 0.0)}
    roster.sets_aside = True
    tools = SimpleNamespace(broker=broker, subscriptions=subscriptions, roster=roster)
    return Attendance(Term(LEASE, 1e9), cast("Tools", tools))


@pytest.mark.parametrize(
    "answers",
    [
        [BrokerUnavailable("no answer"), Arrangement()],
        [Arrangement(aside=frozenset(), returned=("b",), more=True), BrokerUnavailable("")],
        [Arrangement(returned=("b",))],
    ],
    ids=["the answer", "the second page", "nothing"],
)
async def test_a_return_is_noticed_whatever_answer_is_lost(
    answers: list[Arrangement | Exception],
) -> None:
    broker = Arranging(Arrangement(aside=frozenset({"b"})), *answers, Arrangement())
    attendance = attendance_of(broker)
    assert not await attendance.arrange()
    for answer in answers:
        if isinstance(answer, Exception):
            with pytest.raises(BrokerUnavailable):
                await attendance.arrange()
            break
    assert await attendance.arrange(), "held rows of the receiver are to be loaded"
    assert attendance.handles("b")


async def test_a_receiver_that_is_forgotten_is_gone_whatever_was_dropped() -> None:
    attendance = attendance_of(Arranging(Arrangement()))
    await attendance.arrange()
    assert attendance.gone == {"gone"}
