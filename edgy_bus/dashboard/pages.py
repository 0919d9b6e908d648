"""Make pages of values. Every value is escaped, and loses its control characters."""

from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgy_bus.dashboard import words
from edgy_bus.dashboard.access import Role

STATIC = {
    "style.css": "text/css; charset=utf-8",
    "script.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""The files that pages load, with their types."""

NAVIGATION = (
    ("/", "Overview"),
    ("/receivers", "Receivers"),
    ("/workers", "Workers"),
    ("/dead", "Dead letters"),
    ("/held", "Held rows"),
    ("/outboxes", "Outboxes"),
    ("/replays", "Replays"),
    ("/events", "Events"),
    ("/doctor", "Doctor"),
    ("/actions", "Actions"),
)

SECTIONS = {
    "/group": "/",
    "/letters": "/dead",
    "/letter": "/dead",
    "/confirm": "/dead",
    "/event": "/events",
    "/row": "/events",
}
"""Pages without an entry in the navigation, and the entries that they belong to."""


def environment() -> Environment:
    """Return the templates of the dashboard."""
    templates = Environment(
        loader=PackageLoader("edgy_bus.dashboard"),
        # For every name: a template whose name ends otherwise would escape nothing.
        autoescape=True,
        # A misspelt name fails in the tests, and does not leave a gap.
        undefined=StrictUndefined,
        finalize=words.plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        number=words.number,
        several=words.several,
        length=words.length,
        length_of=len,
        size=words.size,
        moment=words.moment,
        until=words.until,
        packed=words.packed,
        chips=words.group_chips,
        chip=words.receiver_chip,
    )
    templates.globals.update(link=words.link, navigation=NAVIGATION, Role=Role)
    return templates


class Pages:
    """The templates, and the files that pages load."""

    def __init__(self) -> None:
        self._environment = environment()
        folder = resources.files("edgy_bus.dashboard") / "static"
        self.files = {name: (folder / name).read_bytes() for name in STATIC}

    def page(self, name: str, **values: Any) -> str:
        """Return a page."""
        return self._environment.get_template(f"{name}.html").render(**values)
