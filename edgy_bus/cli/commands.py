"""The options of every command, and its explanation.

A command imports its work when it runs, so that `--help` and a completion import no database, no
broker and no model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgy_bus.cli.exits import Exit

if TYPE_CHECKING:
    from edgy_bus.cli.place import Place

Target = Annotated[
    str, typer.Argument(metavar="MODULE:BUS", help="Where the bus is, for example app:bus.")
]
Where = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODULE:BUS]", help="Where the receivers' bus is; not needed with --broker."
    ),
]
Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="URL",
        help="The broker, in place of MODULE:BUS. EDGY_BUS_BROKER keeps a password out of the list "
        "of processes.",
    ),
]
Prefix = Annotated[str, typer.Option("--prefix", help="The prefix of the keys, with --broker.")]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]
As = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="NAME",
        help="Who acts, for `edgy-bus actions`; by default EDGY_BUS_OPERATOR, or USER@HOST.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")]
Group = Annotated[
    str | None, typer.Option("--group", "-g", help="The group; by default that of the bus.")
]
PausedReceiver = Annotated[
    str | None,
    typer.Option("--receiver", help="Only this receiver; `receiver list` shows the names."),
]
HealthFile = Annotated[
    Path | None,
    typer.Option(help="Written every few seconds while the program works; see `edgy-bus health`."),
]
Http = Annotated[
    str | None,
    typer.Option(
        metavar="[HOST:]PORT",
        help="Serve /metrics, /livez, /readyz and /lag; the host is 127.0.0.1 unless written. "
        "Needs the extra edgy_bus[http].",
    ),
]
Import = Annotated[
    list[str] | None,
    typer.Option(
        "--import", metavar="MODULE", help="Import a module that holds receivers; may be repeated."
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]


def worker(
    target: Target,
    group: Annotated[
        list[str] | None,
        typer.Option("--group", "-g", help="Run this group only; may be repeated."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", "-c", min=1, help="Waiting calls of each receiver, in each process."
        ),
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", "-p", min=1, help="Processes to run.")
    ] = 1,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload", help="For development: begin anew when a Python file here changes."
        ),
    ] = False,
    import_: Import = None,
    health_file: HealthFile = None,
    http: Http = None,
    verbose: Verbose = False,
) -> None:
    """Run the receivers of a bus until SIGTERM or Ctrl-C; running receivers finish first."""
    from edgy_bus.cli.worker import WorkerCall, work

    work(
        WorkerCall(
            target=target,
            groups=group,
            modules=import_ or [],
            concurrency=concurrency,
            processes=processes,
            health_file=health_file,
            http=http,
            verbose=verbose,
            reload=reload,
        )
    )


def relay(
    target: Target,
    import_: Import = None,
    health_file: HealthFile = None,
    http: Http = None,
    verbose: Verbose = False,
) -> None:
    """Publish the events of a service's outbox, until SIGTERM or Ctrl-C.

    Any number of relays may run, also beside the relay of the service: a lease lets a single relay
    work at a time. Name with --import the modules with models that MODULE does not import.
    """
    from edgy_bus.cli.relay import publish

    publish(target, modules=import_ or [], health_file=health_file, http=http, verbose=verbose)


def held(
    target: Where = None,
    group: Group = None,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """List the rows that receivers with on_exhausted="hold" hold.

    Reads Redis only: no database is needed, and nothing is started or changed. The exit status is 1
    if a row waits for a decision.
    """
    from edgy_bus.cli.held import held as run

    place, _ = place_of([target], broker, prefix)
    run(place, group, as_json=json)


def release(
    target: Where = None,
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="The model with its service, accounts.User."),
    ] = None,
    subject: Annotated[
        str | None, typer.Argument(metavar="[ROW]", help="The key of the row.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every held row, of MODEL if MODEL is given.")
    ] = False,
    group: Group = None,
    receiver: Annotated[str | None, typer.Option(help="Only for this receiver.")] = None,
    skip: Annotated[
        bool,
        typer.Option(
            "--skip",
            help="Move the event that the receiver gave up to the dead letters first.",
        ),
    ] = False,
    by: As = None,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Let workers handle the parked events of held rows, in order, and end the holding.

    Name a row, or all rows: `release app:bus accounts.User 42`, `release app:bus --all`. Needs
    Redis only, and starts nothing: a worker of the group handles the events. The exit status is 1
    if no such row is held, or was released before.
    """
    place, words = place_of([target, model, subject], broker, prefix)
    if every == (len(words) == 2):
        raise typer.BadParameter("name a row, MODEL and ROW, or write --all")
    from edgy_bus.cli.held import release as run

    run(place, words, group=group, receiver=receiver, skip=skip, by=by, as_json=json)


def pause(
    target: Where = None,
    group: Annotated[
        str | None, typer.Argument(metavar="[GROUP]", help="By default the group of the bus.")
    ] = None,
    lasting: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="30s, 15m, 2h or 7d; by default until resume."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Shown by `status` and `doctor`, with your name.")
    ] = None,
    receiver: PausedReceiver = None,
    by: As = None,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Let the workers of a group begin no call until `resume`; running calls finish.

    With --receiver, only this receiver waits, and its neighbours go on.

    Works within a second, without a deployment, and also for workers that start later. Streams keep
    the events. Needs Redis only.
    """
    from edgy_bus.cli.pause import pause as run

    place, words = place_of([target, group], broker, prefix)
    run(place, words, receiver, lasting=lasting, reason=reason, by=by, as_json=json)


def resume(
    target: Where = None,
    group: Annotated[
        str | None, typer.Argument(metavar="[GROUP]", help="By default the group of the bus.")
    ] = None,
    receiver: PausedReceiver = None,
    by: As = None,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Let the workers of a paused group go on. The exit status is 1 if there was no pause."""
    from edgy_bus.cli.pause import resume as run

    place, words = place_of([target, group], broker, prefix)
    run(place, words, receiver, by=by, as_json=json)


def actions(
    target: Where = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most actions.")] = 50,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """List what operators did lately, the newest last: when, who, what, on how many.

    The broker keeps about the last 1,000 actions. Reads Redis only.
    """
    from edgy_bus.cli.actions import show_actions

    place, _ = place_of([target], broker, prefix)
    show_actions(place, limit, as_json=json)


def status(
    target: Where = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Again and again, until Ctrl-C.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between, with --watch.")] = 2.0,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Show how far each group is, in events and in seconds, and what waits for an operator.

    With MODULE:BUS, also what waits in the service's outboxes. Only reads, and starts nothing. The
    exit status is 1 if there are dead letters or held rows, or if events wait for a group that has
    no worker.
    """
    from edgy_bus.cli.status import show_status, watch_status

    place, _ = place_of([target], broker, prefix)
    if watch:
        watch_status(place, every, as_json=json)
    else:
        show_status(place, as_json=json)


def top(
    target: Where = None,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Show groups and receivers with their lag and their rates, again and again, until Ctrl-C.

    The largest lag comes first. With --json, or without a terminal, the command answers after a
    second, in which the rates are taken. Only reads, and starts nothing. With MODULE:BUS, also the
    events that wait in the service's outboxes.
    """
    from edgy_bus.cli.top import show_top

    place, _ = place_of([target], broker, prefix)
    show_top(place, every, as_json=json)


def doctor(
    target: Where = None,
    fail_on: Annotated[
        str, typer.Option(metavar="warning|error", help="The findings that make the status 1.")
    ] = "warning",
    seconds: Annotated[
        float, typer.Option(min=0, help="Between two looks, if a group is behind.")
    ] = 5.0,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Say what is wrong with the broker, the groups and the outboxes, and what mends it.

    Every finding has a code that docs/operations.md explains. Only reads, and starts nothing.
    """
    from edgy_bus.cli.doctor import FailOn, examine

    # Checked here: the type would import the doctor for every `--help`.
    if fail_on not in set(FailOn):
        raise typer.BadParameter("--fail-on takes warning or error")
    place, _ = place_of([target], broker, prefix)
    examine(place, FailOn(fail_on), seconds, as_json=json)


def streams(
    target: Where = None,
    model: Annotated[str | None, typer.Option(help="Streams of this model.")] = None,
    group: Annotated[
        str | None, typer.Option("--group", "-g", help="Streams that this group has read.")
    ] = None,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Show every stream: entries, bytes, and how far each group is. Reads Redis only."""
    from edgy_bus.cli.status import show_streams

    place, _ = place_of([target], broker, prefix)
    show_streams(place, model, group, as_json=json)


def config(
    target: Target,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only numbers that the program sets.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the numbers of a bus with their defaults, and the versions of the installed packages.

    Connects to nothing, and shows no address: a report of an error may contain the answer.
    """
    from edgy_bus.cli.config import show_config

    show_config(target, changed=changed, as_json=json)


def trace(
    target: Where = None,
    first: Annotated[
        str | None, typer.Argument(metavar="EVENT_ID | MODEL", help="The event, or accounts.User.")
    ] = None,
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="The key of the row of MODEL.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Events of a row.")] = 20,
    payload: Annotated[
        bool, typer.Option("--payload", help="Show the data of the event, with values of its row.")
    ] = False,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Show what became of an event, `trace app:bus EVENT_ID`, or of a row, `… MODEL KEY`.

    When it was written and published, how far each group is with it, dead letters, parked events,
    who did it and what it caused. Only reads, and starts nothing. The exit status is 1 if nothing
    is known, and 3 if nothing was met and a place does not answer.
    """
    # Which words mean what depends on their number: a broker alone has no MODULE:BUS.
    place, words = place_of([target, first, key], broker, prefix)
    if len(words) not in (1, 2):
        raise typer.BadParameter("name an event, EVENT_ID, or a row, MODEL KEY")
    if payload and len(words) > 1:
        raise typer.BadParameter("--payload is for one event: name it by its id")
    from edgy_bus.cli.trace import show_event, show_row

    if len(words) == 1:
        show_event(place, words[0], payload=payload, as_json=json)
    else:
        show_row(place, words[0], words[1], limit, as_json=json)


def tail(
    target: Where = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Only this model, accounts.User.")
    ] = None,
    signal: Annotated[
        str | None, typer.Option("--signal", "-s", help="Only this signal, post_save.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", "-k", help="Only the row of this key.")
    ] = None,
    last: Annotated[
        int, typer.Option("--last", "-n", min=0, max=200, help="Begin with so many newest events.")
    ] = 10,
    broker: Broker = None,
    prefix: Prefix = "edgy",
    json: Json = False,
) -> None:
    """Show each event when it is published, a line for each, until Ctrl-C.

    Shows who did it, and no data of rows. Only reads, and no group notices.
    """
    from edgy_bus.cli.tail import show_tail
    from edgy_bus.operations import Following

    place, _ = place_of([target], broker, prefix)
    show_tail(place, Following(model, signal, key), last, as_json=json)


def demo(
    fast: Annotated[bool, typer.Option("--fast", help="A tenth of the users.")] = False,
    users: Annotated[int | None, typer.Option(min=25, help="How many users.")] = None,
    database: Annotated[
        str | None,
        typer.Option(
            help="A database URL (sqlite:///file or postgresql://…); SQLite files in a temporary "
            "folder by default."
        ),
    ] = None,
) -> None:
    """Run two services against each other, kill a worker half-way, and account for every event.

    Uses the Redis of EDGY_BUS_REDIS_URL, a Redis on localhost:6379, a server on the PATH, or the
    server of the `embedded` extra. The exit status is 1 if any event was lost, handled twice or out
    of order.
    """
    # The demonstration starts servers, for which other commands have no use.
    from rich.console import Console

    from edgy_bus.demo.run import USERS, USERS_FAST, run

    count = users if users is not None else USERS_FAST if fast else USERS
    if not run(Console(), users=count, database=database):
        raise typer.Exit(Exit.FINDING)


def health(context: typer.Context) -> None:
    """Tell a probe whether a worker or relay is well, by the status: 0 or 1."""
    from edgy_bus.cli.health import probe

    raise typer.Exit(probe(context.args))


def place_of(
    words: Sequence[str | None], broker: str | None, prefix: str
) -> "tuple[Place, list[str]]":
    """Return where a command works, and the words that do not say where."""
    from edgy_bus.cli.place import Address, find_place

    return find_place([word for word in words if word is not None], Address(broker, prefix))
