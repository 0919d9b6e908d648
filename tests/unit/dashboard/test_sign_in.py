"""Signing in by the form or by HTTP Basic, and what becomes of wrong secrets."""

from base64 import b64encode

import pytest

from edgy_bus.dashboard.access import Access, Role
from edgy_bus.dashboard.guard import credentials
from edgy_bus.dashboard.guesses import FORGOTTEN, FREE, LONGEST, Guesses, client_of
from edgy_bus.dashboard.sessions import Sessions
from tests.support import Told
from tests.unit.dashboard.conftest import SECRETS, USERS, Come
from tests.unit.dashboard.visitor import Answer, Visitor, words


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def basic(role: Role = Role.VIEWER, secret: str = "") -> str:
    text = f"{role.word}-anna:{secret or SECRETS[role]}"
    return f"Basic {b64encode(text.encode()).decode()}"


async def sign_in(visitor: Visitor, secret: str) -> Answer:
    return await visitor.post("/sign-in", {"name": "viewer-anna", "secret": secret, "next": "/"})


def test_pauses_grow_after_some_wrong_guesses_and_are_forgotten(clock: Clock) -> None:
    guesses, pauses = Guesses(clock), []
    with Told() as told:
        for _ in range(FREE + 8):
            guesses.wrong("a")
            pauses.append(guesses.pause("a"))
            clock.now += pauses[-1]
            assert guesses.pause("a") == 0
    assert pauses == [0] * (FREE - 1) + [1, 2, 4, 8, 16, 32] + [int(LONGEST)] * 3
    notices = told.of("dashboard.guessed")
    assert notices[FREE] == {"address": "a", "count": FREE + 1, "pause": 2.0}
    assert len(notices) == FREE + 8
    assert guesses.pause("b") == 0
    clock.now += FORGOTTEN
    guesses.wrong("a")
    assert guesses.pause("a") == 0


def test_addresses_in_memory_are_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgy_bus.dashboard.guesses.MOST", 3)
    guesses = Guesses(clock)
    for address in [*"aaaaa", *"bbbbb", "c", "a", "d"]:
        guesses.wrong(address)
    # The guess of "a" came after those of "b".
    assert guesses.pause("a") == 2
    assert guesses.pause("b") == 0


@pytest.mark.parametrize(
    ("peer", "forwarded", "behind_proxy", "client"),
    [
        ("192.0.2.7", "", False, "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1", False, "192.0.2.7"),
        ("127.0.0.1", "192.0.2.9, 198.51.100.1", True, "198.51.100.1"),
        ("127.0.0.1", "192.0.2.9, forged\n", True, "127.0.0.1"),
        ("127.0.0.1", "", True, "127.0.0.1"),
        ("::ffff:192.0.2.7", "", False, "192.0.2.7"),
        ("2001:db8:0:1:aaaa::1", "", False, "2001:db8:0:1::/64"),
        ("", "", False, "unknown"),
    ],
)
def test_guesses_count_for_the_client(
    peer: str, forwarded: str, behind_proxy: bool, client: str
) -> None:
    assert client_of(peer, forwarded, behind_proxy=behind_proxy) == client


@pytest.mark.parametrize(
    ("header", "given"),
    [
        ("Basic YW5uYTpzZWNyZXQ=", ("anna", "secret")),
        ("basic  YW5uYTphOmI=", ("anna", "a:b")),
        ("Basic w6Q6w7Y=", ("ä", "ö")),
        ("Basic /w==", None),
        ("Basic YW5uYQ==", None),
        ("Basic ???", None),
        ("Basic ä", None),
        ("Bearer YW5uYTpzZWNyZXQ=", None),
        ("Basic", None),
        ("", None),
    ],
)
def test_credentials_are_read(header: str, given: tuple[str, str] | None) -> None:
    assert credentials(header) == given


async def test_wrong_secrets_make_an_address_wait(come: Come, clock: Clock) -> None:
    visitor = come(access=Access(users=USERS), guesses=Guesses(clock))
    answers = [await sign_in(visitor, f"guess {number}") for number in range(FREE)]
    assert [answer.status for answer in answers] == [401] * FREE
    # Also the right secret waits, by either way.
    waits = await sign_in(visitor, SECRETS[Role.VIEWER])
    assert (waits.status, waits.headers["retry-after"]) == (429, "1")
    assert "too many wrong secrets from your address. Wait 1 seconds." in words(waits.text)
    assert 'action="/sign-in"' in waits.text
    by_header = await visitor.get("/", authorization=basic())
    assert (by_header.status, by_header.headers["retry-after"]) == (429, "1")
    assert not visitor.cookies
    elsewhere = Visitor(visitor.app, address="192.0.2.2")
    assert (await sign_in(elsewhere, SECRETS[Role.VIEWER])).status == 303
    clock.now += 1
    assert (await sign_in(visitor, SECRETS[Role.VIEWER])).status == 303
    # A right secret ends no count, and a person who is inside never waits.
    stranger = Visitor(visitor.app)
    assert (await sign_in(stranger, "guess")).status == 401
    assert (await sign_in(stranger, "guess")).headers["retry-after"] == "2"
    assert (await visitor.get("/")).status == 200


async def test_behind_a_proxy_each_client_waits_alone(come: Come, clock: Clock) -> None:
    access = Access(users=USERS, behind_proxy=True)
    visitor = come(access=access, guesses=Guesses(clock))
    for number in range(FREE):
        # The client sends a line of its own; some proxies add theirs behind that.
        forged = f"203.0.113.{number}\n203.0.113.9, 198.51.100.1"
        await visitor.get("/", authorization=basic(secret="guess"), x_forwarded_for=forged)
    for client, status in (("198.51.100.1", 429), ("198.51.100.2", 200)):
        answer = await visitor.get("/", authorization=basic(), x_forwarded_for=client)
        assert answer.status == status


async def test_programs_come_in_by_http_basic(come: Come, clock: Clock) -> None:
    visitor = come(access=Access(users=USERS), guesses=Guesses(clock))
    answer = await visitor.get("/dead", authorization=basic(Role.OPERATOR))
    assert "operator-anna · operator" in words(answer.text)
    visitor.cookies.clear()
    wrong = await visitor.get("/dead", authorization=basic(Role.OPERATOR, "guess"))
    assert wrong.status == 401
    assert wrong.headers["www-authenticate"] == 'Basic realm="edgy_bus", charset="UTF-8"'
    assert (await visitor.get("/dead", authorization="Bearer x")).status == 303
    foreign = await visitor.post(
        "/pause", {}, authorization=basic(Role.OPERATOR), origin="http://evil.example"
    )
    assert foreign.status == 403
    # Without a token, also a form of this very site does nothing.
    assert (await visitor.post("/pause", {}, authorization=basic(Role.OPERATOR))).status == 403


async def test_a_program_without_cookies_ends_no_session(
    come: Come, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgy_bus.dashboard.sessions.MOST", 3)
    visitor = come(access=Access(users=USERS), sessions=Sessions())
    await sign_in(visitor, SECRETS[Role.VIEWER])
    for _ in range(10):
        program = Visitor(visitor.app)
        assert (await program.get("/", authorization=basic(Role.ADMIN))).status == 200
    assert (await visitor.get("/")).status == 200


async def test_browsers_ask_where_that_is_wanted(come: Come) -> None:
    visitor = come(access=Access(users=USERS, asks_basic=True))
    asked = await visitor.get("/dead")
    assert (asked.status, "www-authenticate" in asked.headers) == (401, True)
    assert (await visitor.get("/dead", authorization=basic())).status == 200
    # The cookie goes on without the header, while others guess.
    assert (await visitor.get("/dead")).status == 200
    assert (await come(access=Access(users=USERS)).get("/dead")).status == 303
