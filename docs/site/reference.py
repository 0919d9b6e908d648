"""Write pages of the reference: commands, environment variables, and the log.

MkDocs calls `on_files` by this name. The other pages of the reference are docstrings, which
mkdocstrings shows.
"""

import ast
import inspect
import logging
import subprocess
import sys

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from edgy_bus.telemetry import catalogue
from edgy_bus.telemetry.notice import Notice

ENVIRONMENT = """\
# Environment variables

| variable | purpose |
| --- | --- |
"""

LOG = """\
# Log records and metrics of incidents

Each line of the log begins with a name of this table, and has the fields as `key=value`. A record
with a metric counts in the metric as well; labels are in parentheses.

| name | level | fields | metric | what it tells |
| --- | --- | --- | --- | --- |
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    pages = {
        "reference/commands.md": commands,
        "reference/environment.md": environment,
        "reference/log.md": log,
    }
    for path, write in pages.items():
        files.append(File.generated(config, path, content=write()))
    return files


def commands() -> str:
    """Return the page of the command line, by typer itself."""
    words = ["typer", "edgy_bus.cli.app", "utils", "docs", "--name", "edgy-bus"]
    page = subprocess.run(  # noqa: S603 - the command is fixed
        [sys.executable, "-m", *words], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    return page.replace("# `edgy-bus`", "# Commands", 1)


def environment() -> str:
    """Return the page of the variables, from the texts below their names."""
    variables = griffe.load("edgy_bus.environment").attributes.values()
    lines = [
        f"| `{ast.literal_eval(str(one.value))}` | {' '.join(one.docstring.value.split())} |"
        for one in variables
        if one.docstring
    ]
    return ENVIRONMENT + "\n".join(lines)


def log() -> str:
    """Return the page of the log, from the catalogue of notices."""
    notices = [
        one
        for _, one in inspect.getmembers(catalogue, inspect.isclass)
        # A notice without a name is the base of others.
        if issubclass(one, Notice) and one.name
    ]
    return LOG + "\n".join(_line(one) for one in sorted(notices, key=lambda one: one.name))


def _line(notice: type[Notice]) -> str:
    level = logging.getLevelName(notice.level).lower()
    fields = ", ".join(f"`{name}`" for name in inspect.signature(notice).parameters)
    metric = notice.metric
    counted = f"`{metric.name}` ({', '.join(metric.labels)})" if metric else ""
    text = " ".join((notice.__doc__ or "").split()).replace("|", "\\|")
    return f"| `{notice.name}` | {level} | {fields} | {counted} | {text} |"
