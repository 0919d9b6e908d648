"""Values as people read them."""

import pytest

from edgy_bus.dashboard import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "\N{EN DASH}"),
        (0, "0 s"),
        (3.25, "3.2 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (90_061, "1 d 1 h"),
    ],
)
def test_lengths_have_two_units_at_most(seconds: float | None, text: str) -> None:
    assert words.length(seconds) == text


@pytest.mark.parametrize("value", ["a\nb", "a\r\nb\x00", "\u202eabc", "\udcff", {"a": ["ü", ""]}])
def test_hidden_values_come_back_exactly_and_have_no_control_characters(value: object) -> None:
    text = words.packed(value)
    assert words.unpacked(text) == value
    assert words.plain(text) == text


def test_what_no_page_has_written_is_no_value() -> None:
    assert words.unpacked("{") is None
    assert words.unpacked("[" * 100_000) is None
    assert words.unpacked(None) is None


def test_addresses_carry_any_name() -> None:
    assert words.link("/group", name="a&b=c #é\n") == "/group?name=a%26b%3Dc+%23%C3%A9%0A"
    assert words.link("/dead", group=None, receiver="") == "/dead"
    assert words.link("/row", key="\udcff").startswith("/row?key=%"), "no name makes a page fail"


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "?"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000_000_000, "2.0 TB")],
)
def test_sizes(count: int | None, text: str) -> None:
    assert words.size(count) == text
