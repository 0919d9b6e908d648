"""The pages: what they show, escaped, in every state, to every role."""

import asyncio
from dataclasses import replace

import pytest

from edgy_bus.brokers.base import Enlisted, LetterLimits, Tally
from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.codec import dumps
from edgy_bus.dashboard.access import Access, Role
from edgy_bus.dashboard.sessions import LIFETIME, Sessions
from edgy_bus.dashboard.words import link, packed
from edgy_bus.errors import BrokerUnavailable
from edgy_bus.events import Partition
from edgy_bus.operations import Selection, actions, dead, held, list_dead
from edgy_bus.testing.conformance.relays import card_of
from tests.support import PARTITION, Told, bury, event, hold, publish
from tests.unit.dashboard.conftest import SECRETS, USERS, Come
from tests.unit.dashboard.visitor import forms, tags, words

HOSTILE = "<script>alert(1)</script>'\"><img src=x onerror=alert(1)>{{ 7*7 }}\u202eevil"
"""Markup, the ends of attributes, a template's own marks, a mark that turns the line."""

TEAMS = Partition("accounts.Team", "0")

EVERY_PAGE = (
    "/", "/receivers", "/workers", "/dead", "/letters", "/held", "/outboxes", "/replays", "/events",
    "/actions", "/doctor", "/confirm?action=replay&which=all", "/event?id=x", "/row?model=a&key=b",
)  # fmt: skip


async def fill(broker: MemoryBroker) -> None:
    await bury(broker, event("1", 1), event("2", 1), reason="KeyError: name")
    await bury(broker, event("3", 1), reason="TimeoutError", group="audit", partition=TEAMS)
    await hold(broker, "9")


async def letters(broker: MemoryBroker) -> list[str]:
    return [letter.id async for letter in list_dead(broker, Selection())]


async def test_every_page_is_shown_without_a_group_and_with_some(
    come: Come, broker: MemoryBroker
) -> None:
    visitor = come()
    for is_filled in (False, True):
        if is_filled:
            await fill(broker)
        for path in EVERY_PAGE:
            answer = await visitor.get(path)
            assert answer.status == (404 if path == "/event?id=x" else 200), (path, answer.text)
    (letter, *_) = await letters(broker)
    for path in ("/group?name=mail", link("/letter", id=letter)):
        assert (await visitor.get(path)).status == 200


async def test_the_overview_names_groups_and_what_waits(come: Come, broker: MemoryBroker) -> None:
    empty = words((await come().get("/")).text)
    assert "No group has read a stream" in empty
    assert "no database is known here" in empty
    assert "The last 24 hours" not in empty
    assert "No outbox is known here" in words((await come().get("/outboxes")).text)
    await fill(broker)
    text = words((await come().get("/")).text)
    assert "Dead letters 3" in text
    assert "Held rows 1" in text
    assert "mail" in text
    assert "audit" in text


async def test_letters_that_limits_removed_are_counted(come: Come, broker: MemoryBroker) -> None:
    assert "removed so far" not in words((await come().get("/dead")).text)
    await bury(broker, event("1", 1), event("2", 2), limits=LetterLimits(most=1))
    text = words((await come().get("/dead")).text)
    assert "1 older letter removed so far by letter_retention or most_letters" in text


async def test_relays_and_the_times_of_owners_are_shown(come: Come, broker: MemoryBroker) -> None:
    assert "No relay is listed" in words((await come().get("/outboxes")).text)
    await broker.list_relay(replace(card_of("one"), host="<b>host-1"), 60, 0.0)
    await publish(broker, event("1", 1))
    await broker.acquire(PARTITION, "mail", "worker-1.1795827799077", 60)
    calls = {"send": [0, 1, 1, 1795827899.0]}
    report = {"protocol": 3, "receivers": ["send"], "at": 1.0, "calls": calls}
    await broker.join("mail", "worker-1", 60, dumps(report))
    await broker.enlist("mail", [Enlisted("send", ("accounts.Usr.post_save",))], 60, begins=True)
    assert await broker.acquire(Partition("relay", "accounts/one"), "relay", "one", 60)
    lease = await broker.acquire(TEAMS, "mail", "other.1795827800000", 60)
    assert lease is not None
    await publish(broker, event("1", 1), partition=TEAMS)
    await broker.fetch(lease, 1, inherit=False)
    outboxes = (await come().get("/outboxes")).text
    assert "<b>" not in outboxes
    assert "<b>host-1:17 leads" in words(outboxes)
    group = words((await come().get("/group?name=mail")).text)
    assert "other" in group
    assert "2026-11-28 01:03:20 UTC" in group
    assert "1 call waiting for another attempt, the first until 2026-11-28 01:04:59 UTC" in group
    assert "nobody publishes accounts.Usr.post_save" in group


async def test_nothing_hostile_becomes_markup(come: Come, broker: MemoryBroker) -> None:
    await bury(broker, event(HOSTILE, 1), receiver=HOSTILE, reason=HOSTILE, group="ma<b>il")
    await hold(broker, HOSTILE, receiver=HOSTILE, reason=HOSTILE, group="ma<b>il")
    visitor = come(Role.ADMIN)
    await broker.pause("ma<b>il", None, HOSTILE)
    await broker.tally("ma<b>il", Tally(1, 1, 1), HOSTILE)
    await broker.list_relay(replace(card_of(HOSTILE), service=HOSTILE, outbox=HOSTILE), 60, 0.0)
    await broker.join("ma<b>il", HOSTILE, 60, HOSTILE.encode())
    await publish(broker, event("1", 1))
    assert await broker.acquire(PARTITION, "ma<b>il", f"{HOSTILE}.{HOSTILE}", 60)
    (letter,) = await letters(broker)
    pages = (
        *EVERY_PAGE,
        link("/group", name="ma<b>il"),
        link("/letter", id=letter, data=1),
        link("/letters", receiver=HOSTILE, key=HOSTILE, model=HOSTILE),
        link("/event", id=HOSTILE),
        link("/row", model="accounts.User", key=HOSTILE),
        link("/held", group=HOSTILE),
        link("/workers", group=HOSTILE, worker=HOSTILE),
        link("/nowhere", x=HOSTILE),
        link("/confirm", action="discard", which="ids", id=packed(letter)),
    )
    seen = 0
    for path in pages:
        text = (await visitor.get(path)).text
        elements = tags(text)
        assert [name for name, _ in elements if name == "img"] in ([], ["img"]), path
        assert all(value.get("src") != "x" for _, value in elements), path
        scripts = [value for name, value in elements if name == "script"]
        assert all(script.get("src") == "/static/script.js" for script in scripts), path
        assert not [name for name, value in elements if name == "b" or "onerror" in value], path
        assert "\u202e" not in text, path
        seen += "alert(1)" in words(text)
    assert seen >= 13, "the pages show the text all the same"


async def test_every_answer_has_the_headers_of_a_careful_page(come: Come) -> None:
    visitor = come()
    for path in ("/", "/nowhere", "/static/style.css", "/event?id=x"):
        headers = (await visitor.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] in ("no-store", "no-cache")
    refused = await visitor.get("/", host="evil.example")
    assert refused.status == 403
    assert "content-security-policy" in refused.headers


async def test_pages_have_no_inline_script_or_style(come: Come, broker: MemoryBroker) -> None:
    await fill(broker)
    for path in EVERY_PAGE:
        for name, attributes in tags((await come().get(path)).text):
            assert name != "style"
            assert not [each for each in attributes if each == "style" or each.startswith("on")]
            address = attributes.get("href", "") + attributes.get("src", "")
            assert not address.startswith(("http", "//")), "no request to elsewhere"


async def test_the_cookie_is_for_this_site_and_no_script(come: Come) -> None:
    cookie = (await come().get("/")).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    secure = (await come(access=Access(is_https=True)).get("/")).headers["set-cookie"].lower()
    assert "; secure" in secure


# Letters


async def test_letters_are_listed_in_pages(come: Come, broker: MemoryBroker) -> None:
    await bury(broker, *(event(str(number), 1) for number in range(120)))
    visitor, seen = come(), []
    path = "/letters"
    while path:
        text = (await visitor.get(path)).text
        seen += [each["value"] for name, each in tags(text) if each.get("name") == "id"]
        following = [each["href"] for _, each in tags(text) if each.get("rel") == "next"]
        path = following[0] if following else ""
    assert seen == [packed(each) for each in await letters(broker)]
    assert len(seen) == 120


async def test_data_is_for_admins_who_ask(come: Come, broker: MemoryBroker) -> None:
    await bury(broker, event("1", 1, name="Secret Name"))
    (letter,) = await letters(broker)
    admin = come(Role.ADMIN)
    assert "Secret Name" not in (await admin.get(link("/letter", id=letter))).text
    assert "Secret Name" in (await admin.get(link("/letter", id=letter, data=1))).text
    for role in (Role.VIEWER, Role.OPERATOR):
        answer = await come(role).get(link("/letter", id=letter, data=1))
        assert answer.status == 403
        assert "Secret Name" not in answer.text
        assert (await come(role).get(link("/event", id="x", data=1))).status == 403


async def test_letters_are_replayed_after_a_count(come: Come, broker: MemoryBroker) -> None:
    await fill(broker)
    visitor = come()
    page = await visitor.get(link("/confirm", action="replay", which="all", group="mail"))
    assert "Replay 2 dead letters?" in words(page.text)
    done = await visitor.submit(page.text, "/dead/replay")
    assert "Replayed 2 of 2 letters." in done.text
    assert (await dead(broker, Selection())).count == 1, "the other group's letter stays"
    (entry,) = (await actions(broker, 10)).actions
    assert (entry.operator, entry.action, entry.group, entry.count) == (
        "anna", "dead replay", "mail", 2,
    )  # fmt: skip
    assert "Replayed" not in (await visitor.get("/dead")).text, "a notice is shown once"


async def test_selected_letters_are_discarded_by_admins(come: Come, broker: MemoryBroker) -> None:
    await fill(broker)
    first, *others = await letters(broker)
    visitor = come(Role.ADMIN)
    path = link("/confirm", action="discard", which="ids", id=packed(first))
    page = await visitor.get(path)
    assert "Discard 1 dead letter?" in words(page.text)
    done = await visitor.submit(page.text, "/dead/discard")
    assert "Discarded 1 of 1 letters." in done.text
    assert await letters(broker) == others


async def test_nothing_selected_is_refused(come: Come) -> None:
    answer = await come().get("/confirm?action=replay&which=ids")
    assert answer.status == 400
    assert "No letter was selected" in answer.text


@pytest.mark.parametrize(
    "choice",
    ["", "1", "[]", "{}", '{"ids": []}', '{"ids": [1]}', '{"filter": {"gruop": "mail"}}',
     '{"filter": {"group": ""}}', '{"filter": []}', '{"ids": "a"}'],
)  # fmt: skip
async def test_a_choice_that_is_not_understood_chooses_nothing(
    come: Come, broker: MemoryBroker, choice: str
) -> None:
    await fill(broker)
    visitor = come(Role.ADMIN)
    page = await visitor.get("/confirm?action=discard&which=all")
    answer = await visitor.submit(page.text, "/dead/discard", choice=choice)
    assert answer.status == 400
    assert len(await letters(broker)) == 3


# Rows, groups


async def test_a_row_is_released_with_any_key(come: Come, broker: MemoryBroker) -> None:
    await hold(broker, "a\nb'\"<")
    await hold(broker, "other", partition=TEAMS)
    visitor = come()
    page = await visitor.get("/held")
    first = next(fields for path, fields in forms(page.text) if path == "/release")
    answer = await visitor.post("/release", first)
    assert answer.status == 303
    rows = (await held(broker, "mail")).rows
    assert sorted(row.released for row in rows) == [False, True]
    assert "Released 1 of 1 rows." in (await visitor.get("/held")).text


async def test_a_group_is_paused_and_resumed(come: Come, broker: MemoryBroker) -> None:
    await fill(broker)
    visitor = come()
    page = await visitor.get("/group?name=mail")
    paused = await visitor.submit(page.text, "/pause", lasting="900", reason="mail server")
    assert "Paused the group mail, until" in paused.text
    pause = (await broker.members("mail")).pause
    assert pause is not None
    assert "mail server" in pause.note
    assert "anna" in pause.note
    resumed = await visitor.submit(paused.text, "/resume")
    assert "Resumed the group mail." in resumed.text
    assert (await broker.members("mail")).pause is None
    assert [each.action for each in (await actions(broker, 9)).actions] == ["pause", "resume"]
    refused = await visitor.submit(page.text, "/pause", lasting="5")
    assert refused.status == 400


# Protection


async def test_viewers_look_and_change_nothing(come: Come, broker: MemoryBroker) -> None:
    await fill(broker)
    shown = {role: await come(role).get("/held") for role in Role}
    assert "/release" not in shown[Role.VIEWER].text
    assert "/release" in shown[Role.OPERATOR].text
    viewer = come(Role.VIEWER)
    await viewer.get("/")
    answer = await viewer.post("/release", {"choice": packed({"group": "mail"})})
    assert answer.status == 403
    assert "needs the role operator" in answer.text
    operator = come()
    discarding = await operator.get("/confirm?action=discard&which=all")
    assert "/dead/discard" not in discarding.text
    page = await operator.get("/confirm?action=replay&which=all")
    # With all that its own form for a replay has.
    form = next(fields for path, fields in forms(page.text) if path == "/dead/replay")
    answer = await operator.post("/dead/discard", form)
    assert answer.status == 403
    assert "needs the role admin" in answer.text
    assert len(await letters(broker)) == 3


async def test_a_read_only_dashboard_changes_nothing(come: Come, broker: MemoryBroker) -> None:
    await fill(broker)
    sessions = Sessions()
    writer = come(Role.ADMIN, sessions=sessions)
    page = await writer.get("/confirm?action=discard&which=all")
    reader = come(access=Access(role=Role.ADMIN, read_only=True), sessions=sessions)
    reader.cookies = dict(writer.cookies)
    answer = await reader.submit(page.text, "/dead/discard")
    assert answer.status == 403
    assert "--read-only" in answer.text
    assert len(await letters(broker)) == 3
    assert not forms((await reader.get("/held")).text)


async def test_an_action_needs_the_token_of_its_session(come: Come, broker: MemoryBroker) -> None:
    await fill(broker)
    visitor, other = come(sessions=(sessions := Sessions())), come(sessions=sessions)
    page = await visitor.get("/confirm?action=replay&which=all")
    theirs = next(fields for _, fields in forms((await other.get("/held")).text) if fields)["token"]
    for token in ("", "x", theirs):
        answer = await visitor.submit(page.text, "/dead/replay", token=token)
        assert answer.status == 403, token
    fields = next(fields for path, fields in forms(page.text) if path == "/dead/replay")
    answer = await visitor.post("/dead/replay", fields, origin="http://evil.example")
    assert answer.status == 403
    answer = await visitor.get(link("/dead/replay", **fields))
    assert answer.status == 404, "an address changes nothing"
    assert len(await letters(broker)) == 3
    assert "Replayed 3" in (await visitor.submit(page.text, "/dead/replay")).text


async def test_long_forms_are_refused(come: Come) -> None:
    visitor = come()
    await visitor.get("/")
    assert (await visitor.post("/pause", {"reason": "x" * 1_000_001})).status == 413
    many = {str(number): "" for number in range(3_000)}
    assert (await visitor.post("/pause", many)).status == 400


async def test_people_sign_in_and_out(come: Come, broker: MemoryBroker) -> None:
    await fill(broker)
    visitor = come(access=Access(users=USERS))
    asked = await visitor.get("/dead?group=mail")
    assert asked.status == 303
    page = await visitor.get(asked.headers["location"])
    form = next(fields for path, fields in forms(page.text) if path == "/sign-in")
    wrong = await visitor.post("/sign-in", {**form, "name": "viewer-anna", "secret": "guess"})
    assert wrong.status == 401
    assert not visitor.cookies
    right = {**form, "name": "operator-anna", "secret": SECRETS[Role.OPERATOR]}
    inside = await visitor.post("/sign-in", right)
    assert inside.headers["location"] == "/dead?group=mail"
    text = words((await visitor.get("/dead?group=mail")).text)
    assert "operator-anna · operator" in text
    cookies = dict(visitor.cookies)
    await visitor.post("/sign-out", {})
    visitor.cookies = cookies
    assert (await visitor.get("/")).status == 303, "the session has ended, not just the cookie"


async def test_signing_in_makes_a_new_session(come: Come) -> None:
    visitor = come(access=Access(users=USERS))
    visitor.cookies = {"edgy_bus_dashboard": "chosen-by-a-stranger"}
    form = {"name": "admin-anna", "secret": SECRETS[Role.ADMIN], "next": "/"}
    await visitor.post("/sign-in", form)
    assert visitor.cookies["edgy_bus_dashboard"] != "chosen-by-a-stranger"
    foreign = await visitor.post("/sign-in", form, origin="http://evil.example")
    assert foreign.status == 403


async def test_nothing_is_shown_without_a_session(come: Come, broker: MemoryBroker) -> None:
    await fill(broker)
    visitor = come(access=Access(users=USERS))
    for path in (*EVERY_PAGE, "/group?name=mail", "/letter?id=x"):
        answer = await visitor.get(path)
        assert answer.status == 303, path
        assert answer.headers["location"].startswith("/sign-in")
    for path in ("/pause", "/resume", "/release", "/dead/replay", "/dead/discard"):
        assert (await visitor.post(path, {})).status == 401


async def test_a_session_ends(come: Come, broker: MemoryBroker) -> None:
    await fill(broker)
    now = [0.0]
    visitor = come(access=Access(users=USERS), sessions=Sessions(lambda: now[0]))
    form = {"name": "admin-anna", "secret": SECRETS[Role.ADMIN], "next": "/"}
    await visitor.post("/sign-in", form)
    page = await visitor.get("/confirm?action=discard&which=all")
    now[0] = LIFETIME - 1
    assert (await visitor.get("/")).status == 200
    now[0] = LIFETIME
    answer = await visitor.submit(page.text, "/dead/discard")
    assert answer.status == 401
    assert "nothing was done" in answer.text
    assert len(await letters(broker)) == 3


def test_sessions_are_bounded() -> None:
    sessions = Sessions()
    first, _ = sessions.open(None, Role.VIEWER)
    for _ in range(1_000):
        last, _ = sessions.open(None, Role.VIEWER)
    assert sessions.get(first) is None
    assert sessions.get(last) is not None
    assert sessions.get(None) is None


# Failures


async def test_a_broker_that_is_away_is_a_page(
    come: Come, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise BrokerUnavailable("Redis at <b>host</b>:1 does not answer")

    monkeypatch.setattr(broker, "declared", away)
    answer = await come().get("/")
    assert answer.status == 503
    assert "Redis at &lt;b&gt;host&lt;/b&gt;:1 does not answer" in answer.text
    assert "Check that the server runs" in answer.text


async def test_an_error_of_the_dashboard_is_reported_and_no_traceback_is_shown(
    come: Come, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret of the program")

    monkeypatch.setattr(broker, "declared", fails)
    with Told() as told:
        answer = await come().get("/")
    assert answer.status == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    (notice,) = told.of("http.failed")
    assert "ZeroDivisionError" in str(notice["error"])


async def test_wrong_addresses_are_explained(come: Come) -> None:
    visitor = come()
    for path, status, text in (
        ("/nowhere", 404, "no page"),
        ("/static/other.css", 404, "no such file"),
        ("/static/..%2fpages.py", 404, "no"),
        ("/group?name=misspelt", 404, "No group of this name"),
        ("/letter?id=no-id", 400, "is not the id of a dead letter"),
        ("/letter?id=mail/accounts.User/0/1-1", 404, "This letter is gone"),
        ("/row?model=a", 400, "write both"),
        ("/confirm?action=burn", 404, "no such action"),
        ("/letters?page=-1", 200, "No letter matches"),
        ("/letters?page=99999999999999", 200, "No letter matches"),
    ):
        answer = await visitor.get(path)
        assert answer.status == status, path
        assert text in answer.text, path
    assert (await visitor.get("/events?event=%20abc")).headers["location"] == "/event?id=abc"


async def test_visitors_are_answered_side_by_side(come: Come, broker: MemoryBroker) -> None:
    await fill(broker)
    visitors = [come() for _ in range(5)]
    answers = await asyncio.gather(*(visitor.get("/") for visitor in visitors))
    assert [answer.status for answer in answers] == [200] * 5
