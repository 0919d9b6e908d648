"""The options of `edgy-bus dashboard`."""

from pathlib import Path
from typing import Annotated

import typer

from edgy_bus.cli.commands import As, Broker, Prefix, Where, place_of

AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="NAME",
        help="A name under which browsers reach the dashboard; may be repeated.",
    ),
]
Https = Annotated[
    bool, typer.Option("--https", help="A proxy in front speaks HTTPS: cookies are Secure.")
]
Basic = Annotated[
    bool,
    typer.Option(
        "--basic", help="Let browsers ask for name and secret (HTTP Basic), in place of a page."
    ),
]
BehindProxy = Annotated[
    bool,
    typer.Option(
        "--behind-proxy",
        help="Wrong secrets count for the last address of X-Forwarded-For, which a proxy in front "
        "writes.",
    ),
]


def dashboard(
    target: Where = None,
    http: Annotated[
        str,
        typer.Option(metavar="[HOST:]PORT", help="Where to listen; on this machine by default."),
    ] = "8421",
    users: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Who may sign in: NAME:ROLE:SECRET on lines. EDGY_BUS_DASHBOARD_USERS may have "
            "the lines themselves. Needed for any host but this machine.",
        ),
    ] = None,
    role: Annotated[
        str,
        typer.Option(
            metavar="viewer|operator|admin",
            help="The role of everyone on this machine, if there are no users.",
        ),
    ] = "operator",
    allow_host: AllowHost = None,
    https: Https = False,
    basic: Basic = False,
    behind_proxy: BehindProxy = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Show, and change nothing.")
    ] = False,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    by: As = None,
) -> None:
    """Serve pages of groups, receivers, events, dead letters and held rows, until Ctrl-C.

    With MODULE:BUS, also the service's outboxes. Starts no hook, no relay and no worker. Needs the
    extra edgy_bus[dashboard]. docs/dashboard.md describes the pages, the roles and the protection.
    """
    # No option has a secret: a list of processes shows them.
    from edgy_bus.cli.dashboard import Wanted, run

    place, _ = place_of([target], broker, prefix)
    wanted = Wanted(
        http=http,
        users=users,
        role=role,
        hosts=tuple(allow_host or ()),
        is_https=https,
        read_only=read_only,
        by=by,
        asks_basic=basic,
        behind_proxy=behind_proxy,
    )
    run(place, wanted)
