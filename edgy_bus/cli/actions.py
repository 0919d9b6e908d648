"""`edgy-bus actions`: the latest actions of operators."""

import typer

from edgy_bus import operations
from edgy_bus.cli.moments import in_text
from edgy_bus.cli.operating import operate
from edgy_bus.cli.output import answer
from edgy_bus.cli.place import Place
from edgy_bus.cli.tables import show
from edgy_bus.operations import Actions


def show_actions(place: Place, limit: int, *, as_json: bool) -> None:
    """List the latest actions, the newest last."""
    view = operate(place, lambda parts: operations.actions(parts.broker, limit))
    answer("actions", view, lambda: _show(view), as_json=as_json)


def _show(view: Actions) -> None:
    if not view.actions:
        typer.echo("no action is recorded")
        return
    # The count is part of the result here, and a number of its own in JSON.
    columns = ("when", "who", "action", "group", "receiver", "choice", "result")
    rows = [
        (
            in_text(each.at),
            each.operator,
            each.action,
            each.group,
            each.receiver,
            each.choice,
            each.result,
        )
        for each in view.actions
    ]
    show(columns, rows)
