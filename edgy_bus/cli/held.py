"""`edgy-bus held` and `edgy-bus release`: rows that receivers hold until an operator decides."""

import typer

from edgy_bus import operations
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.operating import operate
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.cli.tables import show
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations import HeldRow, Parts, Released


def held(place: Place, group: str | None, *, as_json: bool) -> None:
    """List the held rows of a group; at a broker alone, by default of every group."""
    rows = operate(place, lambda parts: _held(parts, place, group))
    waiting = any(not row.released for row in rows)
    status = Exit.FINDING if waiting else Exit.FINE
    answer("held", {"rows": rows}, lambda: _show(place, rows), as_json=as_json, status=status)


def release(
    place: Place,
    words: list[str],
    *,
    group: str | None,
    receiver: str | None,
    skip: bool,
    by: str | None,
    as_json: bool,
) -> None:
    """Release a held row, or without the key all held rows, for their receivers or for one.

    Args:
        place: where the rows are held.
        words: the model and the key of the row, the model, or nothing.
        group: the group; by default that of the bus.
        receiver: release rows of this receiver only.
        skip: move the first parked event of each row to the dead letters.
        by: the operator, for the log of actions.
        as_json: whether a program asked.
    """
    model, subject = (*words, None, None)[:2]
    # Rows of another group would be released in passing.
    if group is None and place.group is None:
        raise ConfigurationError("name the group, whose rows are to be released: --group GROUP")

    async def action(parts: Parts) -> tuple[list[HeldRow], Released]:
        rows = [
            row
            for row in await _held(parts, place, group)
            if row.matches(model=model, subject=subject, receiver=receiver)
        ]
        return rows, await operations.release(parts.broker, rows, skip=skip, by=by)

    # An operator who repeats a command has to learn that the first call had its effect.
    rows, released = operate(place, action)
    answer(
        "release",
        {"released": released.rows},
        lambda: _show_released(place, group, rows, released, model, subject, skip=skip),
        as_json=as_json,
        status=Exit.FINE if released.rows else Exit.FINDING,
    )


async def _held(parts: Parts, place: Place, group: str | None) -> list[HeldRow]:
    """Return the held rows, and refuse a misspelt group, which would look like a group at rest."""
    chosen = group or place.group
    groups = await operations.group_names(parts.broker) if chosen is None else (chosen,)
    rows = [row for name in groups for row in (await operations.held(parts.broker, name)).rows]
    # The group of the bus itself may have read nothing yet: its program is new, not misspelt.
    if group is not None and not rows:
        await operations.require_group(parts.broker, group)
    return rows


def _show(place: Place, rows: list[HeldRow]) -> None:
    if not rows:
        typer.echo("no row is held")
        return
    # A bus has one group by default, and a broker has many.
    columns = ["model", "row", "receiver", "why"]
    if place.bus is None:
        show(["group", *columns], [[row.group, *_cells(row)] for row in rows])
        return
    show(columns, [_cells(row) for row in rows])


def _cells(row: HeldRow) -> tuple[str, str, str, str]:
    reason = "released: a worker handles its parked events" if row.released else row.reason
    return row.model, row.subject, row.receiver, reason


def _show_released(
    place: Place,
    group: str | None,
    rows: list[HeldRow],
    released: Released,
    model: str | None,
    subject: str | None,
    *,
    skip: bool,
) -> None:
    if not released.rows:
        name = group or place.group or ""
        typer.echo(_why_not(place, name, bool(rows), model, subject), err=True)
        return
    receivers = ", ".join(dict.fromkeys(row.receiver for row in released.rows))
    released_rows = f"the row {subject!r} of {model}"
    fate = "; the event that was given up is in the dead letters" if skip else ""
    if subject is None:
        released_rows = f"{len(released.rows)} rows"
        fate = "; the events that were given up are in the dead letters" if skip else ""
    typer.echo(f"released {released_rows} for {receivers}{fate}")


def _why_not(
    place: Place, group: str, is_known: bool, model: str | None, subject: str | None
) -> str:
    if subject is None:
        rows = "no row" if model is None else f"no row of {model}"
        return f"{rows} waits for a decision in the group {group!r}"
    if is_known:
        return (
            f"the row {subject!r} of {model} was released before: "
            f"a worker of the group {group!r} handles its parked events"
        )
    command = " ".join(filter(None, ("edgy-bus held", place.name)))
    return (
        f"the row {subject!r} of {model} is not held in the group {group!r}; "
        f"`{command}` lists the rows that are"
    )
