"""What a worker reports of its receivers, and how others read it."""

import time
from typing import Any

import pytest

import edgy_bus as edgy
from edgy_bus.brokers.base import RowKey
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import dumps, loads
from edgy_bus.operations.surveys import since_of
from edgy_bus.retrying import Retry
from edgy_bus.runtime.jobs import Stats
from edgy_bus.runtime.peers import read_peer
from edgy_bus.runtime.waits import WaitingCalls
from edgy_bus.runtime.worker_report import ReceiverReport, WorkerReport, read_report, write_report
from tests.support import PARTITION, event, eventually, publish
from tests.unit.runtime.support import Group, subscribe, worker_on


class Tenure:
    def __init__(self, jobs: dict[str, int], *waiting: WaitingCalls) -> None:
        self._jobs = jobs
        self._waiting = waiting

    def jobs_by_receiver(self) -> dict[str, int]:
        return self._jobs

    def waiting(self, now: float) -> tuple[WaitingCalls, ...]:
        return self._waiting


def test_a_report_sums_up_the_tenures_of_each_receiver() -> None:
    stats = Stats()
    stats.handled_by.update({"send": 6, "index": 1})
    tenures = [
        Tenure({"send": 2, "new": 1}, WaitingCalls("send", 2, 130.0)),
        Tenure({"send": 1}, WaitingCalls("send", 1, 110.0)),
    ]
    before = time.time()
    packed = write_report(stats, tenures, ["send", "index", "send"], now=100.0)
    report = read_report(packed)
    assert before - 0.001 <= report.at <= time.time() + 0.001
    send = report.of("send")
    assert (send.handled, send.jobs, send.waiting) == (6, 3, 3)
    assert send.due == pytest.approx(report.at + 10.0, abs=0.01), "the first of them"
    assert report.of("index") == ReceiverReport(1, 0, 0, 0.0)
    assert report.of("new") == ReceiverReport(jobs=1)
    assert report.of("unknown") == ReceiverReport()
    peer = read_peer(packed)
    assert peer is not None
    assert peer.receivers == {"send", "index"}
    assert (loads(packed)["partitions"], loads(packed)["handled"]) == (2, 7)


@pytest.mark.parametrize(
    "report",
    [
        b"",
        b"[]",
        b"no json",
        dumps({"protocol": 3, "receivers": ["a"]}),
        dumps({"at": "x", "calls": {}}),
        dumps({"at": 1, "calls": {"a": [1, 2]}}),
        dumps({"at": 1, "calls": ["a"]}),
    ],
)
def test_a_report_of_another_program_or_release_says_nothing(report: bytes) -> None:
    assert read_report(report) == WorkerReport()


async def report_of(broker: MemoryBroker) -> WorkerReport:
    members = await broker.members("mail")
    return read_report(members.reports[members.alive[0]]) if members.alive else WorkerReport()


async def test_a_worker_reports_what_it_has_handled_and_what_waits() -> None:
    async def receive(sender: Any, event: edgy.Event, **kwargs: Any) -> Any:
        return edgy.snooze(3600) if event.subject == "2" else None

    broker = MemoryBroker()
    await publish(broker, event("1", 1), event("2", 2), event("2", 3))
    async with worker_on(broker, receive):

        async def reported() -> bool:
            send = (await report_of(broker)).of("r")
            return (send.handled, send.jobs, send.waiting) == (1, 2, 1)

        await eventually(reported, "the report")
        due = (await report_of(broker)).of("r").due
        assert 3500 < due - time.time() < 3700
        (stream,) = await broker.survey([PARTITION])
        began = since_of(stream.groups[0].holder)
        assert began is not None
        assert abs(began.timestamp() - time.time()) < 60


async def test_the_calls_of_released_rows_wait_as_well() -> None:
    calls: list[str] = []

    async def receive(sender: Any, event: edgy.Event, **kwargs: Any) -> Any:
        calls.append(event.id)
        if len(calls) == 1:
            raise ValueError("no such user")
        return edgy.snooze(3600)

    broker = MemoryBroker()
    await publish(broker, event("1", 1))
    group = Group(broker, subscribe(receive, retry=Retry(attempts=1), on_exhausted="hold"))
    tenure = await group.begin()

    async def is_held() -> bool:
        return bool(await broker.held(PARTITION, "mail"))

    await eventually(is_held, "the row is held")
    assert list(tenure.waiting(0.0)) == []
    await broker.decide(PARTITION, "mail", RowKey("r", "1"), skip=False)
    await eventually(lambda: list(tenure.waiting(0.0)), "the released call waits")
    (waiting,) = tenure.waiting(0.0)
    assert (waiting.receiver, waiting.calls, len(calls)) == ("r", 1, 2)
    await group.end(tenure)
