"""Patterns of signals: which signals they match, and which typing errors are certain."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgy_bus.signals import BUILT_IN, matches, misspelt, unmatched

SIGNALS = [(model, signal) for model in ("User", "Team") for signal in (*BUILT_IN, "on_verify")]


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("post_svae", "post_save"),
        ("User.post_svae", "User.post_save"),
        ("U*.pre_delte", "U*.pre_delete"),
        ("pots_*", "post_*"),
        ("*_sav", "*_save"),
        ("User.*_updat", "User.*_update"),
        ("*", None),
        ("post_*", None),
        ("User.*", None),
        ("Usr.post_save", None),
        ("p*", None),
        ("on_verify", None),
        ("on_*", None),
        ("post_[sd]*", None),
        ("", None),
    ],
)
def test_a_typing_error_in_a_built_in_name_is_certain(pattern: str, meant: str | None) -> None:
    assert misspelt(pattern) == meant


@pytest.mark.parametrize(
    ("pattern", "lost"),
    [
        ("post_save", []),
        ("User.on_verify", []),
        ("*.on_verify", []),
        ("Usr.*", [("Usr.*", "User.*")]),
        ("User.on_verfy", [("User.on_verfy", "User.on_verify")]),
        ("on_verfy", [("on_verfy", "on_verify")]),
        ("Invoice.*", [("Invoice.*", None)]),
        ("on_ban", [("on_ban", None)]),
    ],
)
def test_patterns_that_match_nothing_are_found(
    pattern: str, lost: list[tuple[str, str | None]]
) -> None:
    assert unmatched([pattern, "*"], SIGNALS) == lost


@given(st.text(alphabet="UserTampost_veonify.*?[]!", max_size=16))
def test_a_pattern_is_lost_if_and_only_if_it_matches_no_signal(pattern: str) -> None:
    found = any(matches(pattern, model, signal) for model, signal in SIGNALS)
    lost = unmatched([pattern], SIGNALS)
    assert bool(lost) is not found
    # What is suggested matches.
    for _, meant in lost:
        if meant is not None and not any(sign in meant for sign in "*?["):
            assert unmatched([meant], SIGNALS) == [] or "." in meant


@pytest.mark.parametrize(("model", "signal"), list(product(("User", "*"), BUILT_IN)))
def test_a_pattern_without_a_typing_error_is_never_refused(model: str, signal: str) -> None:
    for pattern in (signal, f"{model}.{signal}", f"{signal[:4]}*", f"*{signal[4:]}"):
        assert misspelt(pattern) is None
        assert any(matches(pattern, *each) for each in SIGNALS)
