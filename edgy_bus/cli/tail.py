"""`edgy-bus tail`: the events of the streams, while they are published."""

import asyncio
from collections.abc import Sequence

import typer

from edgy_bus.cli.exits import Exit
from edgy_bus.cli.operating import operate
from edgy_bus.cli.output import envelope
from edgy_bus.cli.place import Place
from edgy_bus.operations import EventSummary, Following, Parts, Tail
from edgy_bus.reasons import printable

_PAUSE = 0.5
"""Seconds between two looks at the streams, if a look takes less."""


def show_tail(place: Place, following: Following, last: int, *, as_json: bool) -> None:
    """Print the newest events, and then each event soon after it is published, until Ctrl-C."""

    async def follow(parts: Parts) -> None:
        loop, tail = asyncio.get_running_loop(), Tail(parts.broker, following)
        events = await tail.begin(last)
        _warn_of(following.model, tail.models)
        _print(events, as_json=as_json)
        while True:
            began = loop.time()
            _print(await tail.step(), as_json=as_json)
            if not tail.is_behind:
                # A system of many streams is not looked at for more than half of the time.
                await asyncio.sleep(max(_PAUSE, loop.time() - began))

    try:
        operate(place, follow)
    except KeyboardInterrupt:
        # The ordinary end of a tail is no error.
        raise typer.Exit from None


def _warn_of(model: str | None, models: Sequence[str]) -> None:
    if model is not None and model not in models:
        known = ", ".join(models) or "none"
        typer.echo(f"no service has declared {model} so far; declared models: {known}", err=True)


def _print(events: Sequence[EventSummary], *, as_json: bool) -> None:
    for event in events:
        # An envelope for each event: a program reads line by line.
        typer.echo(envelope("tail", event, Exit.FINE) if as_json else _line(event))


def _line(event: EventSummary) -> str:
    row = "-" if event.subject is None else event.subject
    words = [event.time, f"{event.model}.{event.signal}", row, event.id]
    words += [f"{name}={value}" for name, value in event.context.items()]
    if event.causation is not None:
        words.append(f"caused by {event.causation}")
    if event.to is not None:
        words.append(f"only to {event.to}")
    if event.backfill:
        words.append("backfill")
    if event.replay is not None:
        words.append(f"replay of {event.replay}")
    return "  ".join(map(printable, words))
