"""`edgy-bus dead edit`: other data for a dead letter, after a look at the difference."""

import difflib
import json
import sys
from collections.abc import Sequence

import typer

from edgy_bus import operations
from edgy_bus.bus import Bus
from edgy_bus.cli.dead import NO_LETTER
from edgy_bus.cli.editor import edited
from edgy_bus.cli.exits import Exit
from edgy_bus.cli.operating import operate
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.errors import ConfigurationError
from edgy_bus.operations import Edit, Editable, Edited
from edgy_bus.reasons import printable

COMMAND = "dead edit"


def edit(
    place: Place,
    address: str,
    assignments: Sequence[str],
    *,
    yes: bool,
    dry_run: bool,
    by: str | None,
    as_json: bool,
) -> None:
    """Edit a letter; without assignments in the editor of the operator."""
    if place.bus is None:
        raise ConfigurationError("a broker alone has no model: name the bus, MODULE:BUS")
    original = operate(place, lambda parts: operations.editable(parts, address))
    if original is None:
        return _end(NO_LETTER, as_json=as_json)
    proposed = _proposed(place.bus, original, assignments)
    if proposed is None:
        return _end("nothing would change", as_json=as_json)
    if not as_json:
        _show_difference(proposed)
    if dry_run:
        return answer(COMMAND, _answer_of(proposed, None), _show_dry_run, as_json=as_json)
    if not yes:
        _ask(address, as_json=as_json)
    # Nothing is locked while the operator thinks: the step finds a letter that is gone.
    result = operate(place, lambda parts: operations.edit_dead(parts, proposed, by=by))
    answer(
        COMMAND,
        _answer_of(proposed, result),
        lambda: _show(result),
        as_json=as_json,
        status=Exit.FINDING if result.id is None else Exit.FINE,
    )
    return None


def _proposed(bus: Bus, original: Editable, assignments: Sequence[str]) -> Edit | None:
    # Modules with receivers are imported late, by a worker.
    bus.import_receivers()
    reader = operations.row_reader(original, bus.service, bus.registries, bus.subscriptions())
    if assignments:
        data: object = operations.with_fields(original.data, assignments)
    else:
        data = operations.data_from(edited(_text_of(original.data), ".json"))
    return operations.checked_edit(original, data, reader, most_bytes=bus.events.max_bytes)


def _ask(address: str, *, as_json: bool) -> None:
    # A script that forgot --yes must not wait for an answer.
    if as_json or not sys.stdin.isatty():
        raise ConfigurationError(f"to edit {address}, add --yes")
    typer.confirm("edit this letter?", abort=True)


def _answer_of(proposed: Edit, result: Edited | None) -> dict[str, object]:
    return {
        "letter": proposed.original.view.id,
        "id": None if result is None else result.id,
        "signed": result is not None and result.is_signed,
        "fields": proposed.fields,
    }


def _end(text: str, *, as_json: bool) -> None:
    answer(
        COMMAND,
        None,
        lambda: typer.echo(text, err=True),
        as_json=as_json,
        status=Exit.FINDING,
    )


def _text_of(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False)


def _show_difference(proposed: Edit) -> None:
    before, after = _text_of(proposed.original.data), _text_of(proposed.data)
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), "before", "after", lineterm=""
    )
    for line in lines:
        typer.echo(printable(line))


def _show_dry_run() -> None:
    typer.echo("would edit the letter; nothing is changed")


def _show(result: Edited) -> None:
    if result.id is None:
        typer.echo("the letter was replayed, discarded or edited meanwhile", err=True)
        return
    signed = ", and signed anew" if result.is_signed else ""
    typer.echo(f"edited{signed}; the letter is now {result.id}")
