"""The site builds without a warning, broken links are found, and pages load nothing elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgy_bus

pytest.importorskip("mkdocs", reason="MkDocs is not installed: make docs")

ROOT = Path(__file__).parents[2]
NAME = re.compile(r'<h[23] id="[\w.]*?(\w+)"|<code>(\w+)</code>')
LOADED = re.compile(r'<(?:script|img|link)\b[^>]*?\b(?:src|href)="(?:https?:)?//[^"]*"')


def build(tree: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a copy of the repository."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=tree,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def test_the_site_builds_and_its_pages_load_nothing_from_other_hosts(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    pages = [*(tmp_path / "site").rglob("*.html")]
    assert len(pages) > 80
    reference = (tmp_path / "site" / "reference").glob("*.html")
    found = NAME.findall("".join(page.read_text("utf-8") for page in reference))
    assert not set(edgy_bus.__all__) - {heading or code for heading, code in found}
    loaded = {match for page in pages for match in LOADED.findall(page.read_text("utf-8"))}
    # The address of the site itself is no resource.
    assert not {link for link in loaded if 'rel="canonical"' not in link}


@pytest.mark.parametrize(
    ("link", "complaint"),
    [
        ("[a page](missing.md)", "missing.md"),
        ("[a part](signals.md#no-such-part)", "no-such-part"),
        ("[a file](../edgy_bus/missing.py)", "missing.py"),
        ("![a picture](missing.svg)", "missing.svg"),
    ],
)
def test_a_broken_link_is_found(tmp_path: Path, link: str, complaint: str) -> None:
    tree = tmp_path / "tree"
    skipped = shutil.ignore_patterns(".*", "build", "dist", "tests", "benchmarks")
    shutil.copytree(ROOT, tree, ignore=skipped, symlinks=True)
    # The pages about measurements link to files of this folder.
    (tree / "benchmarks").mkdir()
    shutil.copy(ROOT / "benchmarks" / "README.md", tree / "benchmarks")
    with (tree / "docs" / "faq.md").open("a") as page:
        page.write(f"\n{link}\n")
    done = build(tree, tmp_path / "site")
    assert done.returncode != 0
    assert complaint in done.stdout + done.stderr
