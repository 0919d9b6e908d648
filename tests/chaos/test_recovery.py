"""How long rows wait after an outage, computed from calls that were made up by hand."""

from tests.chaos.recovery import Call, Outage, committed_at, latencies, quantile, recoveries, shared

KILLED, OTHER = 11, 22


def event(at: float, number: int = 0) -> str:
    """An id as an event made at `at` has it."""
    text = f"{int(at * 1000):012x}"
    return f"{text[:8]}-{text[8:]}-7000-8000-{number:012x}"


def call(
    at: float, process: int, committed: float | None = None, partition: int = 0, number: int = 0
) -> Call:
    return Call(
        "mail", partition, event(at if committed is None else committed, number), process, at
    )


KILL = Outage("kill", KILLED, 100.0)


def waits(*calls: Call) -> list[tuple[float, float]]:
    return [(round(one.first, 3), round(one.slowest, 3)) for one in recoveries([KILL], calls)]


def test_an_id_tells_when_the_event_was_made() -> None:
    assert committed_at(event(1_700_000_000.123)) == 1_700_000_000.123


def test_what_was_committed_before_waits_since_the_outage() -> None:
    assert waits(call(99.0, KILLED), call(103.0, OTHER, committed=99.5)) == [(3.0, 3.0)]


def test_what_was_committed_afterwards_waits_since_then() -> None:
    assert waits(call(99.0, KILLED), call(103.0, OTHER, committed=102.0)) == [(1.0, 1.0)]


def test_the_slowest_is_looked_for_among_those_that_waited_with_the_first() -> None:
    late = call(130.0, OTHER, committed=120.0, number=2)
    assert waits(
        call(99.0, KILLED), call(103.0, OTHER, 99.5), call(107.0, OTHER, 100.5, number=1), late
    ) == [(3.0, 6.5)]


def test_an_event_that_is_called_twice_waited_for_its_first_call() -> None:
    assert waits(call(99.0, KILLED), call(103.0, OTHER, 99.5), call(110.0, OTHER, 99.5)) == [
        (3.0, 3.0)
    ]


def test_partitions_of_others_do_not_count() -> None:
    assert waits(call(99.0, OTHER), call(103.0, OTHER, 99.5)) == []
    assert waits(call(98.0, KILLED), call(99.0, OTHER), call(103.0, OTHER, 99.5)) == []
    assert waits(call(99.0, KILLED, partition=1), call(103.0, OTHER, 99.5)) == []


def test_a_partition_that_nothing_happens_in_tells_nothing() -> None:
    assert waits(call(99.0, KILLED)) == []


def test_latency_is_the_time_from_the_commit_to_the_first_call() -> None:
    calls = [
        call(105.0, OTHER, 100.0),
        call(101.0, KILLED, 100.0),
        call(103.0, OTHER, 101.0, number=1),
    ]
    assert [round(one, 3) for one in latencies(calls)] == [1.0, 2.0]


def test_retries_in_the_same_process_are_no_redeliveries() -> None:
    assert shared([call(101.0, KILLED, 100.0), call(102.0, KILLED, 100.0)]) == 0
    assert (
        shared(
            [
                call(101.0, KILLED, 100.0),
                call(102.0, OTHER, 100.0),
                call(103.0, OTHER, 103.0, number=1),
            ]
        )
        == 1
    )


def test_quantiles_are_values_that_there_were() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1)) == (
        50.0,
        99.0,
        100.0,
    )
    assert quantile([7.0], 0.99) == 7.0
