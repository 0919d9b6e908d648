"""Options: every wrong value and combination is an error that says what to write."""

import math
from datetime import timedelta
from functools import partial

import pytest
from pydantic import BaseModel

import edgy_bus
from edgy_bus.database import Database
from edgy_bus.errors import SignalError
from edgy_bus.retrying import Retry
from edgy_bus.signals import Batch, Inbox, Options

NAN, INF = math.nan, math.inf


class Contract(BaseModel):
    email: str


class AnInbox:
    def transaction(self): ...

    async def run(self, statement, parameters=None): ...


class AsyncFilter:
    async def __call__(self, instance): ...


async def is_verified(user):
    return True


def refusal(**keywords) -> str:
    with pytest.raises(SignalError) as caught:
        Options(**keywords)
    return str(caught.value)


def test_options_are_importable_from_the_package_and_from_signals():
    assert edgy_bus.Options is Options


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        # the value, and what to write instead
        (
            {"name": 5},
            'name=5: write printable text of at most 200 characters, name="welcome-mail"',
        ),
        ({"name": ""}, "name='': write printable text"),
        ({"name": " mail"}, "name=' mail': write printable text"),
        ({"name": "two\nlines"}, "write printable text"),
        ({"name": "nul\0"}, "write printable text"),
        ({"name": "x" * 201}, "write printable text of at most 200"),
        ({"group": 5}, 'group=5: write text, group="mail"'),
        ({"group": "a:b"}, "the group 'a:b' may hold letters"),
        ({"group": ""}, "the group '' may hold letters"),
        ({"local": "yes"}, "local='yes': write True or False"),
        ({"on_commit": 1}, "on_commit=1: write True or False"),
        ({"ordered": "no"}, "ordered='no': write True or False"),
        ({"ordered": None}, "ordered=None: write True or False"),
        (
            {"when_changed": "email"},
            "when_changed='email' is text: write when_changed=(\"email\",)",
        ),
        ({"when_changed": 5}, "when_changed=5: write names of fields"),
        ({"when_changed": None}, "when_changed=None: write names of fields"),
        ({"when_changed": ("email", 5)}, "when_changed=('email', 5): write names of fields"),
        ({"when_changed": b"email"}, "write names of fields"),
        ({"where": "x > 1"}, "where='x > 1': write a callable of the instance"),
        ({"where": is_verified}, "that is not async, where=lambda user: user.is_verified"),
        ({"where": partial(is_verified)}, "that is not async"),
        ({"where": AsyncFilter()}, "that is not async"),
        ({"retry": 3}, "retry=3: write retry=Retry(attempts=8)"),
        ({"retry": 0}, "retry=0: write retry=Retry(attempts=8)"),
        ({"retry": Retry}, "write retry=Retry(attempts=8)"),
        ({"on_exhausted": "stop"}, 'on_exhausted=\'stop\': write "dead_letter" or "hold"'),
        ({"on_exhausted": None}, 'write "dead_letter" or "hold"'),
        ({"on_exhausted": ["hold"]}, 'write "dead_letter" or "hold"'),
        ({"deadline": 0}, "deadline=0: write seconds of more than 0, up to a year, deadline=30"),
        ({"deadline": -1.5}, "deadline=-1.5: write seconds"),
        ({"deadline": NAN}, "deadline=nan: write seconds"),
        ({"deadline": INF}, "deadline=inf: write seconds"),
        ({"deadline": "30"}, "deadline='30': write seconds"),
        ({"deadline": True}, "deadline=True: write seconds"),
        ({"deadline": timedelta(seconds=3)}, "write seconds"),
        ({"inbox": True}, "inbox=bool: write the Database that the receiver writes to"),
        ({"inbox": Database}, "inbox=type: write the Database"),
        ({"batch": 100}, "batch=100: write batch=Batch(size=100, wait=0.1)"),
        ({"batch": Batch}, "write batch=Batch"),
        ({"schema": Contract(email="a")}, "write a pydantic model class, schema=UserContract"),
        ({"schema": dict}, "write a pydantic model class"),
        # combinations
        ({"inbox": AnInbox(), "ordered": False}, "leave out ordered=False, or the inbox"),
        ({"on_exhausted": "hold", "ordered": False}, "keeps the order of rows"),
        ({"local": True, "group": "mail"}, "group has no effect on a receiver that runs in the"),
        ({"local": True, "ordered": False}, "ordered has no effect"),
        ({"local": True, "retry": Retry(attempts=2)}, "retry has no effect"),
        ({"local": True, "on_exhausted": "hold"}, "on_exhausted has no effect"),
        ({"local": True, "deadline": 3}, "deadline has no effect"),
        ({"local": True, "inbox": AnInbox()}, "inbox has no effect"),
        ({"local": True, "batch": Batch()}, "batch has no effect"),
        ({"local": True, "schema": Contract}, "schema has no effect"),
        # keywords
        ({"retries": 3}, "a receiver has no option 'retries': did you mean 'retry'?"),
        ({"on_exausted": "hold"}, "did you mean 'on_exhausted'?"),
        ({"zebra": 1}, "; the options are name, group, local, on_commit, when_changed, where,"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_with_what_to_write(keywords, said):
    assert said in refusal(**keywords)


def test_the_text_of_a_url_in_place_of_an_inbox_is_not_shown():
    assert "hush" not in refusal(inbox="postgresql://user:hush@host/name")


@pytest.mark.parametrize(
    "keywords",
    [
        {"name": "welcome mail"},
        {"name": "app.<locals>.mail", "group": "mail-2.eu"},
        {"on_commit": True},
        {"local": True, "on_commit": True, "name": "mail", "when_changed": ["email"]},
        {"local": True, "where": bool, "retry": None},
        {"deadline": 3, "retry": Retry(attempts=1), "on_exhausted": "hold"},
        {"ordered": False, "batch": Batch(10, 0)},
        {"inbox": AnInbox(), "batch": Batch(), "schema": Contract, "deadline": None},
        {"where": partial(bool)},
    ],
    ids=str,
)
def test_options_that_fit_are_kept(keywords):
    options = Options(**keywords)
    for name, value in keywords.items():
        if name == "retry" and value is None:
            value = Retry()  # noqa: PLW2901
        if name == "when_changed":
            value = tuple(value)  # noqa: PLW2901
        assert getattr(options, name) == value


def test_every_option_has_a_default():
    options = Options()
    assert (options.retry, options.on_exhausted, options.ordered) == (Retry(), "dead_letter", True)
    assert (options.when_changed, options.local, options.batch) == ((), False, None)


@pytest.mark.parametrize(
    ("size", "wait"),
    [(0, 1), (-1, 1), ("10", 1), (1.5, 1), (True, 1), (1, -1), (1, NAN), (1, INF), (1, "1")],
)
def test_a_batch_has_a_size_and_a_time(size, wait):
    with pytest.raises(SignalError, match=r"at least|from 0 to"):
        Batch(size, wait)


def test_when_changed_may_be_any_collection_and_is_read_once():
    assert Options(when_changed=(name for name in ("email", "name"))).when_changed == (
        "email",
        "name",
    )


def test_options_cannot_be_changed_behind_a_receiver():
    with pytest.raises(AttributeError):
        Options().local = True


def test_a_database_can_be_an_inbox(sqlite_url):
    inbox: Inbox = Database(sqlite_url)
    assert Options(inbox=inbox).inbox is inbox
