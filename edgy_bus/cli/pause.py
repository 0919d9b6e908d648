"""`edgy-bus pause` and `edgy-bus resume`: a group, or a receiver, whose calls wait."""

from datetime import UTC, datetime

import typer

from edgy_bus import operations
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.moments import duration, in_text
from edgy_bus.cli.operating import operate
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations import Paused, Resumed


def pause(
    place: Place,
    words: list[str],
    receiver: str | None,
    *,
    lasting: str | None,
    reason: str | None,
    by: str | None,
    as_json: bool,
) -> None:
    """Pause a group or one of its receivers; by default the group of the bus, without an end."""
    group = _group(place, words)
    # Before the connection: what is misspelt is said while Redis is away as well.
    seconds = None if lasting is None else duration(lasting).total_seconds()
    paused = operate(
        place,
        lambda parts: operations.pause(
            parts.broker,
            group,
            seconds=seconds,
            receiver=receiver or "",
            reason=reason,
            by=by,
        ),
    )
    answer("pause", paused, lambda: _show_paused(paused), as_json=as_json)


def resume(
    place: Place, words: list[str], receiver: str | None, *, by: str | None, as_json: bool
) -> None:
    """Resume a group or one of its receivers; by default the group of the bus."""
    group = _group(place, words)
    resumed = operate(
        place,
        lambda parts: operations.resume(parts.broker, group, receiver=receiver or "", by=by),
    )
    answer(
        "resume",
        resumed,
        lambda: _show_resumed(resumed),
        as_json=as_json,
        status=Exit.FINE if resumed.was_paused else Exit.FINDING,
    )


def _group(place: Place, words: list[str]) -> str:
    group = words[0] if words else place.group
    if group is None:  # a broker alone has the groups of many buses
        raise ConfigurationError("name the group; `edgy-bus group list` lists the groups")
    return group


def _show_paused(paused: Paused) -> None:
    if paused.until is None:
        option = f" --receiver {paused.receiver}" if paused.receiver else ""
        until = f"until `edgy-bus resume {paused.group}{option}`"
    else:
        until = f"until {in_text(datetime.fromtimestamp(paused.until, UTC))}"
    typer.echo(
        f"{_name(paused)} is paused {until}: its {paused.workers} workers let running calls "
        "finish, and begin no other"
    )


def _name(view: Paused | Resumed) -> str:
    if view.receiver:
        return f"the receiver {view.receiver!r} of the group {view.group!r}"
    return f"the group {view.group!r}"


def _show_resumed(resumed: Resumed) -> None:
    if resumed.was_paused:
        typer.echo(f"{_name(resumed)} goes on")
    else:
        typer.echo(f"{_name(resumed)} was not paused", err=True)
