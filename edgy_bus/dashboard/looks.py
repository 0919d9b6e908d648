"""The pages that only look."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.responses import RedirectResponse, Response

from edgy_bus import operations
from edgy_bus.dashboard.access import Role
from edgy_bus.dashboard.charts import errors_of, events_of
from edgy_bus.dashboard.desk import Desk, Refusal, Visit
from edgy_bus.dashboard.words import link, steps, unpacked
from edgy_bus.operations import (
    HeldRow,
    Letter,
    LongActions,
    Parts,
    Selection,
    Status,
    selection_of_ids,
)

PER_PAGE = 50

ACTIONS = 200
"""Actions of the log that a page shows."""

ROWS = 200
"""Held rows that a page shows."""

PARTITIONS = 200
"""Partitions that a page shows, the most urgent first."""

EVENTS = 50
"""Events of a row that a page shows."""

PAIRS = (
    ("group", "group"),
    ("receiver", "receiver"),
    ("model", "model"),
    ("key", "subject"),
    ("fingerprint", "fingerprint"),
)
"""The names of a filter in addresses, and in `Selection`."""

_PAGE = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class Looks:
    """The pages of a desk that only look."""

    desk: Desk

    async def overview(self, visit: Visit) -> Response:
        """Show the groups together, each group, and the last day."""
        status = await self._status()
        # Those of the status: to find the groups again would take a look at every stream.
        names = [group.name for group in status.groups]
        history = await operations.history_of_all(self.desk.reach.parts.broker, names)
        totals = {
            "lag": sum(group.lag for group in status.groups),
            "counted": all(group.counted for group in status.groups),
            "seconds": max((group.seconds for group in status.groups), default=0.0),
            "dead": sum(group.dead for group in status.groups),
            "held": sum(group.held for group in status.groups),
            "workers": sum(len(group.workers) for group in status.groups),
            "pending": _pending(status),
            "unread": sum(outbox.error != "" for outbox in status.outboxes),
        }
        return self.desk.show(
            visit,
            "overview",
            status=status,
            totals=totals,
            history=history,
            events=events_of(history),
            errors=errors_of(history),
        )

    async def group(self, visit: Visit) -> Response:
        """Show a group: its workers, its streams, its receivers."""
        name, broker = visit.asked("name"), self.desk.reach.parts.broker
        status = await self._status()
        groups = [group for group in status.groups if group.name == name]
        if not groups:
            raise Refusal(404, "No group of this name has read a stream.")
        receivers = await operations.receivers(broker, groups[0].name)
        history = await operations.history(broker, groups[0].name)
        streams = await operations.streams(broker, group=groups[0].name)
        # The streams that are behind matter; a group may have thousands at rest.
        behind = sorted(streams, key=lambda each: -each.groups[0].seconds)[:PER_PAGE]
        return self.desk.show(
            visit,
            "group",
            group=groups[0],
            history=history,
            events=events_of(history),
            errors=errors_of(history),
            receivers=receivers,
            streams=behind,
            all_streams=len(streams),
        )

    async def receivers(self, visit: Visit) -> Response:
        """Show the receivers of all groups."""
        listed = await operations.all_receivers(self.desk.reach.parts.broker)
        return self.desk.show(visit, "receivers", receivers=listed)

    async def workers(self, visit: Visit) -> Response:
        """Show the workers, and who owns which partition since when."""
        # A misspelt name has no rows, and the page names it.
        group, worker = visit.asked("group"), visit.asked("worker")
        view = await operations.ownership(
            self.desk.reach.parts.broker, group=group, worker=worker, most=PARTITIONS
        )
        return self.desk.show(visit, "workers", view=view, group=group, worker=worker)

    async def outboxes(self, visit: Visit) -> Response:
        """Show the outboxes, the relays, and what keeps entries in their streams."""
        status = await self._status()
        obstacles = operations.trimming_obstacles(status.groups)
        return self.desk.show(visit, "outboxes", status=status, obstacles=obstacles)

    async def replays(self, visit: Visit) -> Response:
        """Show the backfills and replays that have begun and not ended."""
        # Read-only: a request that lasts as long as a replay would end with the browser.
        view, unreachable = await self.desk.reach.look(_long_actions)
        problems = (*unreachable, *view.problems)
        knows = bool(self.desk.reach.parts.publishers)
        return self.desk.show(
            visit, "replays", actions=view.actions, problems=problems, knows=knows
        )

    async def dead(self, visit: Visit) -> Response:
        """Show the dead letters by failure."""
        selection = selection_in(_asked(visit))
        view = await operations.dead(self.desk.reach.parts.broker, selection)
        return self.desk.show(visit, "dead", view=view, selection=selection)

    async def letters(self, visit: Visit) -> Response:
        """Show dead letters, a page of those that match."""
        asked = _asked(visit)
        selection, page = selection_in(asked), _page(visit.asked("page"))
        letters = await self._letters(selection, (page - 1) * PER_PAGE)
        return self.desk.show(
            visit,
            "letters",
            letters=letters[:PER_PAGE],
            more=len(letters) > PER_PAGE,
            page=page,
            first=(page - 1) * PER_PAGE + 1,
            asked=asked,
            selection=selection,
        )

    async def letter(self, visit: Visit) -> Response:
        """Show a dead letter; to admins also the data of the event."""
        address, shows_data = visit.asked("id") or "", bool(visit.asked("data"))
        if shows_data and not self._may_read(visit):
            raise Refusal(403, "The data of events is for the role admin.")
        broker = self.desk.reach.parts.broker
        shown = await operations.dead_letter(broker, address, data=shows_data)
        if shown is None:
            raise Refusal(404, "This letter is gone: it was replayed or discarded.")
        return self.desk.show(visit, "letter", shown=shown, shows_data=shows_data)

    async def confirm(self, visit: Visit) -> Response:
        """Show the letters of an action on dead letters, which the next request carries out."""
        action = visit.asked("action")
        if action not in ("replay", "discard"):
            raise Refusal(404, "There is no such action.")
        ids = [unpacked(each) for each in visit.request.query_params.getlist("id")]
        chosen = [each for each in ids if isinstance(each, str)]
        if visit.asked("which") == "ids":
            if not chosen:
                raise Refusal(400, "No letter was selected: go back, and select some.")
            selection = selection_of_ids(chosen)
            choice: dict[str, object] = {"ids": sorted(set(chosen))}
        else:
            asked = _asked(visit)
            selection, choice = selection_in(asked), {"filter": asked}
        # Counted again at each look: letters come and go.
        view = await operations.dead(self.desk.reach.parts.broker, selection)
        return self.desk.show(visit, "confirm", action=action, view=view, choice=choice)

    async def held(self, visit: Visit) -> Response:
        """Show the rows that receivers hold."""
        broker, wanted = self.desk.reach.parts.broker, visit.asked("group")
        # A misspelt group has no rows, and the page names the group.
        names = [wanted] if wanted else await operations.group_names(broker)
        rows: list[HeldRow] = []
        for name in names:
            view = await operations.held(broker, name)
            rows += view.rows
        waits = Counter(row.group for row in rows if not row.released)
        return self.desk.show(
            visit, "held", rows=rows[:ROWS], count=len(rows), group=wanted, waits=waits
        )

    async def events(self, visit: Visit) -> Response:
        """Show the search for events."""
        if event := visit.asked("event"):
            return RedirectResponse(link("/event", id=event.strip()), 303)
        return self.desk.show(visit, "events")

    async def event(self, visit: Visit) -> Response:
        """Show the way of an event."""
        event_id, shows_data = visit.asked("id") or "", bool(visit.asked("data"))
        if shows_data and not self._may_read(visit):
            raise Refusal(403, "The data of events is for the role admin.")
        trace = await self.desk.reach.look(
            lambda parts, unreachable: operations.trace_event(
                parts, event_id, unreachable=unreachable, payload=shows_data
            )
        )
        # Nothing known is no error of the page, and yet no event.
        points = [] if trace.journey is None else list(steps(trace.journey))
        return self.desk.show(
            visit,
            "event",
            200 if trace.journey is not None else 404,
            trace=trace,
            steps=points,
            event_id=event_id,
            shows_data=shows_data,
        )

    async def row(self, visit: Visit) -> Response:
        """Show the newest events of a row."""
        model, key = visit.asked("model"), visit.asked("key")
        if model is None or key is None:
            raise Refusal(400, "A row has a model, as accounts.User, and a key: write both.")
        trace = await self.desk.reach.look(
            lambda parts, unreachable: operations.trace_row(
                parts, model, key, limit=EVENTS, unreachable=unreachable
            )
        )
        return self.desk.show(visit, "row", trace=trace, journeys=trace.journeys[::-1])

    async def doctor(self, visit: Visit) -> Response:
        """Show the findings of the doctor, each with the remedy."""
        diagnosis = await self.desk.reach.look(
            lambda parts, unreachable: operations.doctor(
                parts, seconds=2.0, unreachable="; ".join(unreachable)
            )
        )
        return self.desk.show(visit, "doctor", findings=diagnosis.findings)

    async def actions(self, visit: Visit) -> Response:
        """Show the latest actions of operators, the newest first."""
        # The log has the oldest first, as a terminal wants to read.
        log = await operations.actions(self.desk.reach.parts.broker, ACTIONS)
        return self.desk.show(visit, "actions", actions=log.actions[::-1])

    async def _status(self) -> Status:
        return await self.desk.reach.look(
            lambda parts, unreachable: operations.status(parts, "; ".join(unreachable))
        )

    async def _letters(self, selection: Selection, skipped: int) -> list[Letter]:
        letters: list[Letter] = []
        async for letter in operations.list_dead(self.desk.reach.parts.broker, selection):
            if skipped:
                skipped -= 1
                continue
            letters.append(letter)
            # One more than is shown says that more match.
            if len(letters) > PER_PAGE:
                break
        return letters

    def _may_read(self, visit: Visit) -> bool:
        return visit.session.role >= Role.ADMIN


def selection_in(values: Mapping[str, object]) -> Selection:
    """Return the choice of a filter; values that are not text are left out."""
    choice = {field: values.get(name) for name, field in PAIRS}
    texts = {name: value for name, value in choice.items() if isinstance(value, str) and value}
    return Selection(**texts)  # type: ignore[arg-type]


async def _long_actions(
    parts: Parts, unreachable: tuple[str, ...]
) -> tuple[LongActions, tuple[str, ...]]:
    return await operations.long_actions(parts), unreachable


def _asked(visit: Visit) -> dict[str, str]:
    values = {name: visit.asked(name) for name, _ in PAIRS}
    return {name: value for name, value in values.items() if value is not None}


def _page(text: str | None) -> int:
    # A number of the address, which anyone may have written.
    is_number = _PAGE.fullmatch(text or "") is not None
    return max(1, int(text or "")) if is_number else 1


def _pending(status: Status) -> int | None:
    counts = [outbox.pending for outbox in status.outboxes if outbox.pending is not None]
    # An outbox that cannot be read has a line of its own; 0 would look well.
    return sum(counts) if counts else None
