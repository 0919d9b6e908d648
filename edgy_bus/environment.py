"""Name the environment variables that programs of this library read."""

import os

from edgy_bus.errors import ConfigurationError

FOLLOW_STDIN = "EDGY_BUS_FOLLOW_STDIN"
"""The program stops when its standard input ends.

The input ends when the parent process has died, no matter how, SIGKILL included.
"""

METRICS_FILE = "EDGY_BUS_METRICS_FILE"
"""The file through which a process of `--processes` hands its metrics to its supervisor."""

BROKER = "EDGY_BUS_BROKER"
"""The URL of the broker for commands of operators, which a list of processes does not show."""

VERSION = "EDGY_BUS_VERSION"
"""The version of the program, which marks deployments in charts."""

OPERATOR = "EDGY_BUS_OPERATOR"
"""The name of the operator for the log of actions; by default USER@HOST."""

DASHBOARD_USERS = "EDGY_BUS_DASHBOARD_USERS"
"""Who may sign in to the dashboard: `NAME:ROLE:SECRET` on lines of their own."""

_LONGEST_VERSION = 64


def version_of(given: str | None) -> str:
    """Return the version of this program, given or from the environment; empty if unknown.

    Raises:
        ConfigurationError: for a text that no chart can show.
    """
    version = os.environ.get(VERSION, "").strip() if given is None else given
    if len(version) > _LONGEST_VERSION or not version.isprintable():
        source = VERSION if given is None else "Bus(version=…)"
        raise ConfigurationError(
            f"{source} is no version that charts can show: write {_LONGEST_VERSION} printable "
            "characters at most, for example the name of a release or of a commit"
        )
    return version
