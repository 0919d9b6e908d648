from edgy_bus.runtime.window import Window


def test_the_last_events_are_known_and_memory_is_bounded() -> None:
    window = Window(10)
    for number in range(100):
        window.add(str(number), "r")
        assert all((str(last), "r") in window for last in range(max(0, number - 9), number + 1))
    assert ("99", "other") not in window
    assert sum((str(number), "r") in window for number in range(100)) <= 20
