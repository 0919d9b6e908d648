"""`edgy-bus group forget`: the end of a group of receivers."""

import sys

import typer

from edgy_bus import operations
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.operating import operate
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.errors import ConfigurationError
from edgy_bus.loading import load_bus
from edgy_bus.operations import Forgotten


def forget(target: str, group: str, *, yes: bool, by: str | None, as_json: bool) -> None:
    """Forget a group of the service that publishes."""
    bus = load_bus(target)
    bus.relays()  # a bus without an outbox publishes nothing, and has no group to forget
    if not yes:
        _ask(bus.service, group, as_json=as_json)
    place = Place(target, bus)
    forgotten = operate(place, lambda parts: operations.forget(parts, group, by=by), databases=True)
    answer(
        "group forget",
        forgotten,
        lambda: _show(bus.service, forgotten),
        as_json=as_json,
        status=Exit.FINE if forgotten.models else Exit.FINDING,
    )


def _ask(service: str, group: str, *, as_json: bool) -> None:
    # A group that comes back later has lost its place: it begins with what the streams still hold.
    # A script that forgot --yes must not wait for an answer.
    if as_json or not sys.stdin.isatty():
        raise ConfigurationError(f"to forget the group {group!r}, add --yes")
    typer.confirm(f"forget the group {group!r} on all streams of {service}?", abort=True)


def _show(service: str, forgotten: Forgotten) -> None:
    group, models = forgotten.group, forgotten.models
    if models:
        typer.echo(f"the group {group!r} was removed from {', '.join(models)}")
    else:
        typer.echo(f"no model of {service} knew the group {group!r}", err=True)
