"""Show pages that stand outside of docs/ on the site, and check links that leave docs/.

MkDocs calls the functions by these names. README.md, ARCHITECTURE.md and their neighbours are read
in the repository as well, so their links are those of the repository. On the site, links to the
pages of `OUTSIDE` lead to the copies there, and links to other files become plain text.
"""

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
OUTSIDE = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md")
"""Pages of the repository that the site shows, by their paths from the root."""

LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\(([^)\s]+)\)")
# A message of this logger is a warning of the build, which `--strict` refuses.
_log = logging.getLogger("mkdocs.hooks.links")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of `OUTSIDE`."""
    for path in OUTSIDE:
        text = (ROOT / path).read_text("utf-8")
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Rewrite the links that the repository and the site resolve differently."""
    place = page.file.src_uri
    source = place if place in OUTSIDE else f"docs/{place}"

    def rewritten(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        path, mark, anchor = target.partition("#")
        if not path or ":" in path:
            return match[0]
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if not (ROOT / inside).exists():
            _log.warning("%s links to %s, which does not exist", source, target)
            return text
        shown = inside if inside in OUTSIDE else inside.removeprefix("docs/")
        if inside not in OUTSIDE and shown == inside:
            return text
        link = posixpath.relpath(shown, posixpath.dirname(place) or ".")
        return f"[{text}]({link}{mark}{anchor})"

    return LINK.sub(rewritten, markdown)
