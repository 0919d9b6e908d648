"""`edgy-bus config`: the numbers of a bus, and the versions of the packages below it."""

import typer

from edgy_bus.bus import Bus
from edgy_bus.cli.output import answer
from edgy_bus.cli.tables import show
from edgy_bus.loading import load_bus
from edgy_bus.operations import Configuration, Setting, installed_versions, settings_of


def show_config(target: str, *, changed: bool, as_json: bool) -> None:
    """Show the configuration of a bus; with `changed`, only numbers that the program sets."""
    configuration = _configuration(load_bus(target))
    answer("config", configuration, lambda: _show(configuration, changed), as_json=as_json)


def _configuration(bus: Bus) -> Configuration:
    topics = {"events": bus.events, "relaying": bus.relaying, "working": bus.working}
    # Kinds in place of addresses: people paste this answer into reports, and a URL may contain a
    # password.
    return Configuration(
        service=bus.service,
        group=bus.group,
        broker=None if bus.broker is None else type(bus.broker).__name__,
        databases=tuple(database.dialect.name for database in bus.databases()),
        settings=settings_of(topics),
        versions=installed_versions(),
    )


def _show(configuration: Configuration, changed: bool) -> None:
    broker = configuration.broker or "none: local mode"
    typer.echo(f"service {configuration.service}, group {configuration.group}, broker {broker}")
    typer.echo(f"databases: {', '.join(configuration.databases) or 'none'}")
    versions = [f"{name} {number}" for name, number in configuration.versions.items()]
    typer.echo(f"versions: {', '.join(versions)}")
    chosen = [each for each in configuration.settings if each.is_changed or not changed]
    if chosen:
        show(("setting", "value", "default", "meaning"), [_cells(each) for each in chosen])
    else:
        typer.echo("every number has its default")


def _cells(setting: Setting) -> tuple[str, str, str, str]:
    # Also without the colours of a terminal, and in a file.
    mark = "*" if setting.is_changed else ""
    name = f"{setting.topic}.{setting.name}"
    return name, f"{setting.value}{mark}", str(setting.default), setting.description
