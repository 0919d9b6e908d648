"""`edgy-bus dashboard`: checks who may come in, and serves the pages."""

import os
from dataclasses import dataclass
from pathlib import Path

import typer

from edgy_bus.cli.operating import operate
from edgy_bus.cli.place import Place
from edgy_bus.cli.running import set_up_logging
from edgy_bus.dashboard.access import Access, Role, User, hosts_of, read_users, role_named
from edgy_bus.environment import DASHBOARD_USERS
from edgy_bus.errors import ConfigurationError
from edgy_bus.http.address import Address, parse
from edgy_bus.observability.logging import log_telemetry

_PACKAGES = frozenset({"jinja2", "markupsafe", "starlette", "uvicorn"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options of the command say."""

    http: str
    users: Path | None
    role: str
    hosts: tuple[str, ...]
    is_https: bool
    read_only: bool
    by: str | None
    asks_basic: bool = False
    behind_proxy: bool = False


def run(place: Place, wanted: Wanted) -> None:
    """Serve the dashboard until the process gets a signal.

    Raises:
        ConfigurationError: if the options do not protect the dashboard, if a package is missing,
            or if the address cannot be used.
    """
    # All before the connection: what is wrong is said while Redis is away as well.
    address, users = parse(wanted.http), _users(wanted.users)
    access = Access(
        users=users,
        role=role_named(wanted.role),
        operator=wanted.by,
        read_only=wanted.read_only,
        hosts=hosts_of(address, wanted.hosts, users),
        is_https=wanted.is_https,
        asks_basic=wanted.asks_basic,
        behind_proxy=wanted.behind_proxy,
    )
    if access.asks_basic and not users:
        raise ConfigurationError(
            "--basic asks for the secret of a user, and there are no users: name them in "
            "EDGY_BUS_DASHBOARD_USERS or with --users FILE"
        )
    try:
        from edgy_bus.dashboard.serving import serve
    except ModuleNotFoundError as error:
        # A module that a package of the extra misses is a broken installation: show the traceback.
        if error.name not in _PACKAGES:
            raise
        raise ConfigurationError(
            f"the dashboard needs the package {error.name}, which is not installed: "
            "pip install 'edgy_bus[dashboard]'"
        ) from None
    # Pages that fail and wrong secrets are in the log alone.
    set_up_logging(verbose=False)
    stop_logging = log_telemetry()
    try:
        operate(place, lambda parts: serve(parts, access, address, lambda at: _greet(at, access)))
    finally:
        stop_logging()


def _users(path: Path | None) -> tuple[User, ...]:
    if path is None:
        return read_users(os.environ.get(DASHBOARD_USERS, ""))
    try:
        users = read_users(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the dashboard's users cannot be read from {path}") from error
    # An empty file would let everyone in without a password.
    if not users:
        raise ConfigurationError(f"{path} names no user: write NAME:ROLE:SECRET on a line")
    return users


def _greet(address: Address, access: Access) -> None:
    # On standard error, as all that is no answer.
    typer.echo(f"the dashboard is at http://{address}", err=True)
    if not access.users:
        rights = f"everyone on this machine is {access.role.word}"
        hint = "" if access.role is Role.VIEWER else "; --role viewer lets them look only"
        typer.echo(f"there are no users: {rights}{hint}", err=True)
