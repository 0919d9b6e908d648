"""The configuration of a bus: its numbers, and the versions of the installed packages."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from edgy_bus.settings import Settings

_PACKAGES = ("edgy_bus", "redis", "SQLAlchemy", "databases", "asyncpg", "aiosqlite", "pydantic")
"""The packages whose versions a report of an error needs."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A number that may be tuned.

    Attributes:
        topic: the keyword of `Bus` that holds the number: `events`, `relaying` or `working`.
        name: the name of the number.
        value: the value; None where something else decides, as the description says.
        default: the value unless the program sets another.
        description: the effect of the number.
    """

    topic: str
    name: str
    value: object
    default: object
    description: str

    @property
    def is_changed(self) -> bool:
        """Return whether the program sets another value than the default."""
        return self.value != self.default


@dataclass(frozen=True, slots=True)
class Configuration:
    """The configuration of a bus, without addresses, which may contain passwords.

    Attributes:
        service: the name of the service.
        group: the group of receivers without a group.
        broker: the kind of the broker; None in local mode.
        databases: the kinds of the databases, of models and of inboxes.
        settings: every number that may be tuned.
        versions: the versions of Python and of the packages that are installed.
    """

    service: str
    group: str
    broker: str | None
    databases: tuple[str, ...]
    settings: tuple[Setting, ...]
    versions: Mapping[str, str]


def settings_of(topics: Mapping[str, Settings]) -> tuple[Setting, ...]:
    """Return every number of some topics, in the order of their declaration."""
    return tuple(
        Setting(
            topic=topic,
            name=name,
            value=getattr(numbers, name),
            default=field.get_default(),
            description=field.description or "",
        )
        for topic, numbers in topics.items()
        for name, field in type(numbers).model_fields.items()
    )


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that matter, as far as they are here."""
    versions = {"Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # an extra that is not installed
            continue
    return versions
