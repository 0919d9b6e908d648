"""Who may come in, from which address, and which requests are answered."""

import pytest

from edgy_bus.dashboard.access import Access, Role, hosts_of, read_users, role_named
from edgy_bus.dashboard.desk import back_to
from edgy_bus.dashboard.guard import is_token, refusal
from edgy_bus.errors import ConfigurationError
from edgy_bus.http.address import Address

SECRET = "a-secret-that-is-long"
USERS = read_users(f"anna:viewer:{SECRET}\n# a comment\n\nbob:admin:{SECRET}-too\n")
HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def test_users_have_names_roles_and_digests_of_their_secrets() -> None:
    assert [(user.name, user.role) for user in USERS] == [
        ("anna", Role.VIEWER),
        ("bob", Role.ADMIN),
    ]
    assert SECRET not in repr(USERS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("anna:viewer", "line 1 .* write NAME:ROLE:SECRET"),
        (f"anna:boss:{SECRET}", "'boss' is no role"),
        ("anna:viewer:short", "16 characters"),
        (f"anna:viewer:{SECRET}\nanna:admin:{SECRET}", "same name: anna"),
    ],
)
def test_users_that_cannot_be_read_are_refused_without_the_secret(
    text: str, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as refused:
        read_users(text)
    assert SECRET not in str(refused.value)
    assert "short" not in str(refused.value)


def test_a_name_needs_its_own_secret() -> None:
    access = Access(users=USERS)
    found = access.user("bob", f"{SECRET}-too")
    assert found is not None
    assert found.role is Role.ADMIN
    assert access.user("bob", SECRET) is None
    assert access.user("anna", f"{SECRET}-too") is None
    assert access.user("nobody", SECRET) is None
    assert access.user("änna\udcff", "\udcff") is None, "no form makes the comparison fail"


def test_without_users_only_this_machine_is_served() -> None:
    for host in ("0.0.0.0", "::", "10.0.0.7", "bus.example"):
        with pytest.raises(ConfigurationError, match="EDGY_BUS_DASHBOARD_USERS"):
            hosts_of(Address(host, 1), ["bus.example"], ())
    # A proxy that forwards to loopback opens the dashboard as well.
    with pytest.raises(ConfigurationError, match="--allow-host"):
        hosts_of(Address("127.0.0.1", 1), ["bus.example"], ())
    assert hosts_of(Address("127.0.0.1", 1), [], ()) == HOSTS


def test_an_address_without_a_name_needs_the_names_of_the_dashboard() -> None:
    with pytest.raises(ConfigurationError, match="--allow-host NAME"):
        hosts_of(Address("0.0.0.0", 1), [], USERS)
    assert hosts_of(Address("0.0.0.0", 1), ["Bus.Example."], USERS) == HOSTS | {"bus.example"}
    assert hosts_of(Address("10.0.0.7", 1), [], USERS) == HOSTS | {"10.0.0.7"}


def test_roles_have_words() -> None:
    assert role_named("operator") is Role.OPERATOR
    with pytest.raises(ConfigurationError, match="viewer, operator or admin"):
        role_named("OPERATOR")


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8421", "127.0.0.1:1", "[::1]:80", "LOCALHOST."]
)
def test_known_hosts_are_answered(host: str) -> None:
    assert not refusal("GET", {"host": host}, HOSTS)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "evil@localhost.example", "[", "127.0.0.2"],
)
def test_other_hosts_are_refused(host: str) -> None:
    assert "does not answer under this name" in refusal("GET", {"host": host}, HOSTS)


@pytest.mark.parametrize(
    ("headers", "is_answered"),
    [
        ({"origin": "http://localhost:1"}, True),
        ({"origin": "https://localhost:1", "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://localhost:2"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://localhost:1", "sec-fetch-site": "cross-site"}, False),
        ({"origin": "http://localhost:1", "sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "none"}, False),
    ],
)
def test_forms_come_from_the_dashboard_itself(headers: dict[str, str], is_answered: bool) -> None:
    assert (not refusal("POST", {"host": "localhost:1", **headers}, HOSTS)) is is_answered


def test_tokens_are_compared_whole() -> None:
    assert is_token("abc", "abc")
    assert not is_token("", "abc")
    assert not is_token("ab", "abc")
    assert not is_token("abcd", "abc")
    assert not is_token(None, "abc")
    assert not is_token("ä", "abc")


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/dead?group=a", "/dead?group=a"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nset-cookie: x", "/"),
        ("", "/"),
    ],
)
def test_a_person_who_signs_in_stays_on_the_dashboard(path: str, there: str) -> None:
    assert back_to(path) == there
