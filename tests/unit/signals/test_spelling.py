"""Suggestions: the name that was probably meant, or every name there is."""

import pytest

from edgy_bus.signals.spelling import one_edit_apart, resembling, suggestion

OPTIONS = ("name", "group", "retry", "deadline")


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [("retyr", "retry"), ("retries", "retry"), ("dead_line", "deadline"), ("groups", "group")],
)
def test_the_name_that_was_probably_meant_is_suggested(misspelt, meant):
    assert suggestion(misspelt, OPTIONS, "the options are") == f": did you mean {meant!r}?"


def test_a_name_like_no_other_gets_the_list_of_all_names():
    hint = suggestion("zebra", OPTIONS, "the options are")
    assert hint == "; the options are name, group, retry, deadline"


def test_a_typing_error_is_preferred_to_a_similar_name():
    assert suggestion("pre_sav", ["pre_saved_all", "pre_save"], "") == ": did you mean 'pre_save'?"


def test_resembling_names_are_a_single_edit_away():
    assert resembling("retyr", OPTIONS) == "retry"
    assert resembling("retries", OPTIONS) is None
    assert resembling("retry", OPTIONS) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("post_save", "post_sav"),
        ("ost_save", "post_save"),
        ("post_save", "post_sawe"),
        ("post_save", "psot_save"),
        ("post_save", "post_saev"),
        ("", "a"),
    ],
)
def test_an_edit_adds_removes_or_changes_a_letter_or_swaps_two(first, second):
    assert one_edit_apart(first, second)
    assert one_edit_apart(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("post_save", "post_save"),
        ("post_save", "pre_save"),
        ("post_save", "post_s"),
        ("post_save", "past_sawe"),
        ("on_verify", "on_verified"),
        ("abcd", "badc"),
        ("abc", "cba"),
    ],
)
def test_the_same_name_and_two_edits_are_more_or_less_than_an_edit(first, second):
    assert not one_edit_apart(first, second)
    assert not one_edit_apart(second, first)
