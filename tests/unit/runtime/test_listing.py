"""The list of receivers at the start of a worker."""

from typing import Any

import pytest
from pydantic import BaseModel

import edgy_bus as edgy
from edgy_bus.runtime.listing import unusual
from tests.support import Told, eventually


class Contract(BaseModel):
    id: int


def is_large(instance: Any) -> bool:
    return bool(instance.id)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (edgy.Options(), ""),
        (edgy.Options(name="mail", group="mail"), ""),
        (edgy.Options(retry=edgy.Retry(attempts=1)), "retry=Retry(attempts=1)"),
        (edgy.Options(when_changed=["id", "name"]), "when_changed=('id', 'name')"),
        (edgy.Options(where=is_large), "where=is_large"),
        (edgy.Options(schema=Contract), "schema=Contract"),
        (edgy.Options(batch=edgy.Batch(size=7)), "batch=Batch(size=7)"),
        (
            edgy.Options(on_exhausted="hold", deadline=3),
            "on_exhausted='hold', deadline=3",
        ),
    ],
)
def test_options_are_shown_where_they_differ_from_their_defaults(
    options: edgy.Options, text: str
) -> None:
    assert unusual(options) == text


def test_an_inbox_is_shown_without_its_address() -> None:
    database = edgy.Database("postgresql://user:hush@localhost/mail")
    assert unusual(edgy.Options(inbox=database)) == "inbox=Database"


async def test_a_worker_lists_its_receivers_when_it_starts() -> None:
    bus = edgy.Bus("memory://", service="mail")

    @bus.receiver("accounts.User", "post_save", name="greet", retry=edgy.Retry(attempts=3))
    async def greet(sender: str, **kwargs: object) -> None: ...

    @bus.receiver("accounts.User", "post_delete", name="forget", group="archive")
    async def forget(sender: str, **kwargs: object) -> None: ...

    with Told() as told:
        async with bus, bus.worker():
            await eventually(lambda: "worker.started" in told.names())
    assert told.of("worker.receiver") == [
        {
            "group": "archive",
            "receiver": "forget",
            "model": "accounts.User",
            "signal": "post_delete",
            "options": "",
        },
        {
            "group": "mail",
            "receiver": "greet",
            "model": "accounts.User",
            "signal": "post_save",
            "options": "retry=Retry(attempts=3)",
        },
    ]
    assert told.of("worker.started") == [
        {"groups": ["archive", "mail"], "receivers": ["forget", "greet"]}
    ]
