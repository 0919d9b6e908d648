"""Users of the dashboard, and their roles."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from edgy_bus.errors import ConfigurationError
from edgy_bus.http.address import Address

SHORTEST_SECRET = 16
"""Characters of a secret, at least: guesses from many addresses are not slowed down."""

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})

EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound

_USER = re.compile(r"(?P<name>[^:\s]{1,100}):(?P<role>[a-z]+):(?P<secret>\S+)")


class Role(IntEnum):
    """The rights of a user. Each role includes the roles before."""

    VIEWER = 1
    """Look, without the data of events."""
    OPERATOR = 2
    """Pause and resume, release rows, replay dead letters."""
    ADMIN = 3
    """See the data of events, and discard dead letters."""

    @property
    def word(self) -> str:
        """Return the name as people write it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class User:
    """A user. Of the secret, only the digest is kept."""

    name: str
    role: Role
    digest: bytes


@dataclass(frozen=True, slots=True)
class Access:
    """How the dashboard is protected.

    Attributes:
        users: the users; without users, the loopback address is open to all of this machine.
        role: the role without users.
        operator: the name for the log of actions without users; None for USER@HOST.
        read_only: whether no action is possible, for no role.
        hosts: the names in `Host` under which the dashboard answers.
        is_https: whether browsers reach the dashboard over HTTPS, so that cookies are `Secure`.
        asks_basic: whether browsers ask for name and secret (HTTP Basic), and no page does.
        behind_proxy: whether a proxy writes the client's address last into `X-Forwarded-For`.
    """

    users: tuple[User, ...] = ()
    role: Role = Role.OPERATOR
    operator: str | None = None
    read_only: bool = False
    hosts: frozenset[str] = LOOPBACK
    is_https: bool = False
    asks_basic: bool = False
    behind_proxy: bool = False

    def user(self, name: str, secret: str) -> User | None:
        """Return the user of a name and a secret; None if there is no such user."""
        digest, user_of_name = _digest(secret), None
        # Every user is compared, so that the time of the answer tells no name.
        for user in self.users:
            is_name = hmac.compare_digest(user.name.encode(), name.encode("utf-8", "replace"))
            if hmac.compare_digest(user.digest, digest) and is_name:
                user_of_name = user
        return user_of_name


def role_named(word: str) -> Role:
    """Return the role of a word. Raises `ConfigurationError` for another word."""
    for role in Role:
        if role.word == word:
            return role
    raise ConfigurationError(f"{word!r} is no role: write viewer, operator or admin")


def read_users(text: str) -> tuple[User, ...]:
    """Return the users of a text, `NAME:ROLE:SECRET` for each, on lines of their own.

    Raises:
        ConfigurationError: for a line of another form; the message does not repeat the secret.
    """
    lines = [line.strip() for line in text.splitlines()]
    users = [
        _user(line, number)
        for number, line in enumerate(lines, 1)
        if line and not line.startswith("#")
    ]
    names = [user.name for user in users]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigurationError(f"users of the dashboard have the same name: {', '.join(twice)}")
    return tuple(users)


def _user(line: str, number: int) -> User:
    form = _USER.fullmatch(line)
    # The line itself is not repeated: a secret stands in it.
    if form is None:
        raise ConfigurationError(
            f"line {number} of the dashboard's users: write NAME:ROLE:SECRET, without spaces"
        )
    if len(form["secret"]) < SHORTEST_SECRET:
        raise ConfigurationError(
            f"the dashboard's user {form['name']!r} needs a secret of {SHORTEST_SECRET} characters "
            "or more; `openssl rand -hex 16` makes one"
        )
    return User(form["name"], role_named(form["role"]), _digest(form["secret"]))


def _digest(secret: str) -> bytes:
    # A fast digest serves: secrets are long and random, and the file with them is the weak place.
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def hosts_of(address: Address, names: Iterable[str], users: tuple[User, ...]) -> frozenset[str]:
    """Return the names in `Host` under which the dashboard answers.

    Args:
        address: where the dashboard listens.
        names: the names that an operator has allowed.
        users: the users.

    Raises:
        ConfigurationError: if the address is reached from other machines without a password, or
            under a name that is not known.
    """
    allowed = frozenset(name.lower().rstrip(".") for name in names)
    if not users and (address.host not in LOOPBACK or allowed - LOOPBACK):
        raise ConfigurationError(
            f"without users, the dashboard is for this machine alone, and {address} or a name of "
            "--allow-host is not: name the users in EDGY_BUS_DASHBOARD_USERS or with --users FILE"
        )
    if address.host in EVERY_ADDRESS and not allowed:
        raise ConfigurationError(
            f"at {address}, the dashboard has to know its own name, so that no other page can "
            "borrow it: --allow-host NAME, as browsers write the name"
        )
    return allowed | LOOPBACK | ({address.host.lower()} - EVERY_ADDRESS)
