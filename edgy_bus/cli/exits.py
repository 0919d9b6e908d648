"""The exit statuses of every command."""

from enum import IntEnum


class Exit(IntEnum):
    """The answer of a command to scripts and probes."""

    FINE = 0
    FINDING = 1
    """The command worked, and has something to report: nothing matched, a program is not well."""
    USAGE = 2
    """The call or the configuration is wrong."""
    UNREACHABLE = 3
    """A broker or a database does not answer. The same command may work later."""
    CUT_OFF = 4
    """The time to stop was over: the program was ended with work that still ran."""
