"""The command line, `edgy-bus`: the options of commands, and what each command does.

Modules that a probe, `--help` or a completion imports stay light: a command imports its work when
it runs (tests/packaging/test_imports.py).
"""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; `arguments` are those of the process by default.

    An error of this library ends in a message and an exit status, not in a traceback; see `Exit`.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    # A probe runs every few seconds beside its program: the parser of the other commands alone
    # costs more than the whole probe.
    if words[:1] == ["health"]:
        from edgy_bus.cli.health import probe

        sys.exit(probe(words[1:]))
    # Before the imports of the program, which take a second: a signal is never lost.
    from edgy_bus.cli.watch import leave_as_first_process, watch

    if words[:1] in (["worker"], ["relay"]):
        watch()
    else:
        leave_as_first_process()
    from edgy_bus.cli.app import run

    run(words)


__all__ = ["main"]
