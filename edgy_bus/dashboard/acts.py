"""The actions. Each is an action of `edgy_bus.operations`, which writes the log of actions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from edgy_bus import operations
from edgy_bus.brokers.base import Broker
from edgy_bus.dashboard.desk import Desk, Refusal, Visit
from edgy_bus.dashboard.looks import PAIRS, selection_in
from edgy_bus.dashboard.words import link, number, unpacked, until
from edgy_bus.operations import Replayed, Selection, selection_of_ids

LENGTHS = {"900": 900.0, "3600": 3600.0, "14400": 14_400.0, "86400": 86_400.0, "": None}
"""The lengths of a pause in seconds; None: until an operator ends the pause."""


@dataclass(frozen=True, slots=True)
class Acts:
    """The actions of a desk."""

    desk: Desk

    @property
    def _broker(self) -> Broker:
        return self.desk.reach.parts.broker

    async def pause(self, visit: Visit) -> Response:
        """Pause a group or a receiver."""
        choice, lasting = _choice(visit), visit.sent("lasting")
        # Not any length: a number that is misread would pause for years.
        if lasting not in LENGTHS:
            raise Refusal(400, "There is no such length of a pause.")
        paused = await operations.pause(
            self._broker,
            _text(choice, "group"),
            seconds=LENGTHS[lasting],
            receiver=_text(choice, "receiver"),
            reason=visit.sent("reason").strip() or None,
            by=visit.session.operator,
        )
        name = _name(paused.group, paused.receiver)
        return self.desk.done(
            visit, f"Paused {name}, {until(paused.until)}.", _back(choice), "wait"
        )

    async def resume(self, visit: Visit) -> Response:
        """Resume a group or a receiver, and close the breaker of the receiver."""
        choice = _choice(visit)
        resumed = await operations.resume(
            self._broker,
            _text(choice, "group"),
            receiver=_text(choice, "receiver"),
            by=visit.session.operator,
        )
        name = _name(resumed.group, resumed.receiver)
        # Another operator, or the end of the pause, may have come first.
        if resumed.was_paused:
            return self.desk.done(visit, f"Resumed {name}.", _back(choice))
        return self.desk.done(visit, f"{name} was not paused.", _back(choice), "wait")

    async def release(self, visit: Visit) -> Response:
        """Release a held row, or all held rows of a group."""
        choice, skips = _choice(visit), visit.sent("skip") == "1"
        held = await operations.held(self._broker, _text(choice, "group"))
        # As the rows are now: another operator may have released some of those that were shown.
        rows = held.select(
            model=choice.get("model"),
            subject=choice.get("subject"),
            receiver=choice.get("receiver"),
        ).rows
        released = await operations.release(
            self._broker, rows, skip=skips, by=visit.session.operator
        )
        count, fate = len(released.rows), ""
        if skips and count:
            fate = " The events that were given up are in the dead letters."
        text = f"Released {number(count)} of {number(len(rows))} rows.{fate}"
        return self.desk.done(visit, text, "/held", "good" if count else "wait")

    async def replay(self, visit: Visit) -> Response:
        """Replay dead letters."""
        # Within the request: an action that outlives its page would report to no person.
        done = await operations.replay_dead(
            self._broker, _selection(visit), by=visit.session.operator
        )
        stays = done.waiting or done.foreign
        return self.desk.done(visit, _replayed(done), "/dead", "wait" if stays else "good")

    async def discard(self, visit: Visit) -> Response:
        """Discard dead letters."""
        done = await operations.discard_dead(
            self._broker, _selection(visit), by=visit.session.operator
        )
        text = f"Discarded {number(done.discarded)} of {number(done.matching)} letters."
        return self.desk.done(visit, text, "/dead")


def _choice(visit: Visit) -> dict[str, Any]:
    choice = unpacked(visit.sent("choice"))
    if not isinstance(choice, dict) or not all(isinstance(each, str) for each in choice.values()):
        raise Refusal(400, "This is no form of the dashboard.")
    if not choice.get("group"):
        # Without its name, an action would concern another group than the person meant.
        raise Refusal(400, "The form names no group.")
    return choice


def _selection(visit: Visit) -> Selection:
    choice = unpacked(visit.sent("choice"))
    if not isinstance(choice, dict):
        raise Refusal(400, "This is no form of the dashboard.")
    ids, filter_ = choice.get("ids"), choice.get("filter")
    if isinstance(ids, list) and ids and all(isinstance(each, str) for each in ids):
        return selection_of_ids(ids)
    names = {name for name, _ in PAIRS}
    # A filter that is not understood would choose more letters than the page has counted.
    if not isinstance(filter_, dict) or not all(
        name in names and isinstance(value, str) and value for name, value in filter_.items()
    ):
        raise Refusal(400, "This is no form of the dashboard.")
    return selection_in(filter_)


def _text(choice: Mapping[str, Any], name: str) -> str:
    return str(choice.get(name) or "")


def _name(group: str, receiver: str) -> str:
    return f"{receiver} of {group}" if receiver else f"the group {group}"


def _back(choice: Mapping[str, Any]) -> str:
    return link("/group", name=choice["group"])


def _replayed(done: Replayed) -> str:
    text = f"Replayed {number(done.replayed)} of {number(done.matching)} letters."
    if done.waiting:
        text += f" {number(done.waiting)} stay: their rows are held."
    if done.foreign:
        text += f" {number(done.foreign)} stay: they are not events of this library."
    return text
