"""`edgy-bus receiver list`, `rename` and `forget`: the receivers that groups have."""

from collections.abc import Sequence

import typer

from edgy_bus import operations
from edgy_bus.brokers.base import Trip
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.operating import operate
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.cli.tables import show
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations import Parts, ReceiverStatus

_COLUMNS = ("group", "receiver", "signals", "workers", "note")


def show_receivers(place: Place, group: str | None, *, as_json: bool) -> None:
    """List the receivers of a group; at a broker alone, by default of every group."""
    chosen = group or place.group

    async def look(parts: Parts) -> tuple[ReceiverStatus, ...]:
        if chosen is None:
            return await operations.all_receivers(parts.broker)
        return await operations.receivers(parts.broker, chosen)

    views = operate(place, look)
    # For scripts, as for people: a deployment may ask whether its receivers are complete.
    is_missing = any(view.missing for view in views)
    answer(
        "receiver list",
        {"receivers": views},
        lambda: _show(views),
        as_json=as_json,
        status=Exit.FINDING if is_missing else Exit.FINE,
    )


def forget_receiver(
    place: Place, group: str | None, name: str, *, by: str | None, as_json: bool
) -> None:
    """Forget a receiver of a group."""
    chosen = _group(place, group)
    # Redis alone knows receivers, so this works while the databases are away.
    view = operate(
        place, lambda parts: operations.forget_receiver(parts.broker, chosen, name, by=by)
    )
    answer(
        "receiver forget",
        view,
        lambda: typer.echo(f"the group {chosen!r} has forgotten the receiver {name!r}"),
        as_json=as_json,
    )


def rename_receiver(
    place: Place, group: str | None, names: tuple[str, str], *, by: str | None, as_json: bool
) -> None:
    """Let programs have a receiver by another name."""
    chosen = _group(place, group)
    # As for `forget`, Redis alone.
    view = operate(
        place, lambda parts: operations.rename_receiver(parts.broker, chosen, *names, by=by)
    )
    answer("receiver rename", view, lambda: typer.echo(_renamed(view)), as_json=as_json)


def _group(place: Place, group: str | None) -> str:
    """Return the group of a receiver: the chosen one, else that of the bus."""
    chosen = group or place.group
    if chosen is None:
        raise ConfigurationError("name the group of the receiver: --group GROUP")
    return chosen


def _renamed(view: ReceiverStatus) -> str:
    if not view.names:
        return f"workers that start from now on know {view.name!r} by this name only"
    return f"workers that start from now on may have {view.name!r} as {' or '.join(view.names)}"


def _show(views: Sequence[ReceiverStatus]) -> None:
    if not views:
        typer.echo("no worker has listed a receiver yet")
        return
    show(
        _COLUMNS,
        [
            (view.group, view.name, " ".join(view.signals), str(len(view.workers)), _note(view))
            for view in views
        ],
    )


def _note(view: ReceiverStatus) -> str:
    names = f"also {', '.join(view.names)}" if view.names else ""
    return "; ".join(filter(None, (names, _state(view))))


def _state(view: ReceiverStatus) -> str:
    if view.forgotten:
        return "forgotten"
    # First: a receiver may be paused because its program is to be stopped.
    if view.pause is not None:
        return f"paused by {view.pause.note}"
    if view.trip is not None:
        return _shown(view.trip)
    if view.missing:
        return f"no program has it, for {view.seconds:.0f} s: start one, or `receiver forget`"
    return ""


def _shown(trip: Trip) -> str:
    times = "once" if trip.step == 1 else f"{trip.step} times"
    state = f"for another {trip.remaining:.0f} s" if trip.is_open else "and lets one call try"
    return f"breaker opened {times} in {trip.age:.0f} s, {state}: {trip.reason}"
