"""The editor of the operator: a text goes there, and comes back changed."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from edgy_bus.errors import ConfigurationError

_EDITOR = "vi"


def edited(text: str, suffix: str) -> str:
    """Return a text as the operator has left it in VISUAL, EDITOR or vi.

    Raises:
        ConfigurationError: if the editor cannot be started, or ends with an error.
    """
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or _EDITOR
    # The folder is for its owner only, and is removed: the text contains values of a row.
    with tempfile.TemporaryDirectory(prefix="edgy-bus-") as folder:
        path = Path(folder, f"letter{suffix}")
        path.write_text(text, "utf-8")
        try:
            # Without a shell, and the operator's own command. Without a time limit: people think.
            ended = subprocess.run([*shlex.split(command), str(path)], check=False)  # noqa: S603
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"the editor {command!r} cannot be started: {error}. Set EDITOR"
            ) from error
        if ended.returncode:
            raise ConfigurationError(
                f"the editor {command!r} ended with status {ended.returncode}: nothing is changed"
            )
        try:
            return path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"the edited text cannot be read: {error}") from error
