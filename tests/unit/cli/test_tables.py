"""Tables: whole texts on a terminal and elsewhere, and no control characters."""

import pytest

from edgy_bus.cli.tables import aligned, show

KEY = "0190c4c8-7b3e-7f4e-8c8e-2f6f3a9d1b5e"
COLUMNS = ("model", "row", "why")
ROWS = [("accounts.CustomerInvoice", KEY, "no [/tmp] \x1b[2J\nuser"), ("a.B", "1", "away")]


def test_columns_are_as_wide_as_their_longest_text() -> None:
    assert aligned([("a", "row", "x"), ("bcd", "1", "")]) == ["a    row  x", "bcd  1"]


def test_without_a_terminal_a_row_is_a_line_with_whole_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    show(COLUMNS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        f"model                     {'row':36}  why",
        f"accounts.CustomerInvoice  {KEY}  no [/tmp]  [2J user",
        f"a.B                       {'1':36}  away",
    ]


@pytest.mark.parametrize("width", [40, 200])
def test_on_a_terminal_names_are_whole_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    show(COLUMNS, ROWS)
    out = capsys.readouterr().out
    assert KEY in out
    assert "accounts.CustomerInvoice" in out
    assert "no [/tmp]  [2J user" in out
    assert ("│" in out) is (width == 200)
