"""The simulation's checker sees every kind of fault, and does not invent any."""

from tests.simulation.checker import Heard, Report, check_effects, check_group, check_streams
from tests.simulation.database import Effect

COMMITTED = {"1": [1, 3], "2": [2]}
IDS = {"e1", "e2", "e3"}
EVENTS = {"e1": ("1", 1), "e2": ("2", 2), "e3": ("1", 3)}


def heard(*sequences: int) -> Heard:
    one = Heard([("2" if number == 2 else "1", number, f"e{number}") for number in sequences])
    one.finished = {event for _, _, event in one.starts}
    return one


def group(one: Heard) -> Report:
    report = Report()
    check_group(report, "mail", one, COMMITTED, IDS)
    return report


def effects(*sequences: int) -> list[str]:
    report = Report()
    made = [Effect("2" if number == 2 else "1", number, f"e{number}") for number in sequences]
    check_effects(report, "write", made, COMMITTED)
    return report.kinds


def streams(*ids: str, repeated: tuple[str, ...] = ()) -> list[str]:
    report = Report()
    check_streams(report, {"partition": ids}, EVENTS, repeated)
    return report.kinds


def test_what_is_right_is_no_fault() -> None:
    assert group(heard(1, 2, 3)).kinds == []
    assert group(heard(2, 1, 3, 1, 3)).redeliveries == 2
    assert effects(2, 1, 3) == []
    assert streams("e1", "e2", "e3") == []


def test_every_fault_of_a_group_is_seen() -> None:
    assert group(heard(1, 2)).kinds == ["lost"]
    assert group(heard(3, 1, 2, 3)).kinds == ["reordered"]
    assert group(heard(2, 1, 3, 1)).kinds == ["stale"]
    assert group(heard(1, 2, 3, 9)).kinds == ["phantom"]
    stuck = heard(1, 2, 3)
    stuck.finished.remove("e3")
    assert group(stuck).kinds == ["unresolved"]


def test_a_committed_event_that_is_heard_under_another_row_or_number_is_a_phantom() -> None:
    for wrong in (("2", 3, "e3"), ("1", 4, "e3")):
        one = heard(1, 2)
        one.starts.append(wrong)
        one.finished.add("e3")
        assert group(one).kinds == ["phantom"]


def test_what_is_excused_is_counted() -> None:
    report = Report()
    check_group(report, "held", heard(1, 2), COMMITTED, IDS, {"e2", "e3"})
    assert (report.kinds, report.excused) == ([], 1)
    check_group(report, "held", heard(3, 1, 2), COMMITTED, IDS, {"e1", "e2"}, {"e1", "e2"})
    assert (report.kinds, report.excused) == ([], 2)
    check_group(report, "held", heard(3, 1, 2, 3), COMMITTED, IDS, {"e1"})
    assert report.kinds == ["reordered"]


def test_every_fault_of_effects_is_seen() -> None:
    assert effects(1, 2) == ["lost"]
    assert effects(1, 1, 2, 3) == ["double"]
    assert effects(3, 1, 2) == ["stale"]
    assert effects(1, 2, 3, 1) == ["double"]
    assert effects(1, 2, 3, 9) == ["phantom"]


def test_an_event_that_takes_effect_twice_is_double_whatever_its_number() -> None:
    report = Report()
    check_effects(
        report,
        "write",
        [Effect("1", 1, "e1"), Effect("2", 2, "e2"), Effect("1", 3, "e1")],
        COMMITTED,
    )
    assert report.kinds == ["double"]


def test_every_fault_of_streams_is_seen() -> None:
    assert streams("e3", "e1") == ["disordered"]
    assert streams("e9") == ["phantom"]
    assert streams("e1", repeated=("e1",)) == ["repeated"]
