"""The source distribution and the wheel contain what packagers and programs need."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "tests", "workers", "deploy", "changelog.d")
FILES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "constraints.txt",
    "constraints-lowest.txt",
    "constraints-edgy.txt",
    "pyproject.toml",
)
MADE_HERE = ("__pycache__", ".*_cache", ".git", ".hypothesis", ".venv", ".venvs", "build", "dist")
"""Folders of a working copy that never belong to a distribution."""


class Distributions(NamedTuple):
    """The names of the files inside of both distributions, without the folder of the version."""

    source: set[str]
    wheel: set[str]
    metadata: str


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Build both from a copy of the tree; the wheel is built from the source distribution."""
    pytest.importorskip("build", reason="the package build is not installed")
    folder = tmp_path_factory.mktemp("distributions")
    skip: Callable[[str, list[str]], Iterable[str]] = shutil.ignore_patterns(
        *MADE_HERE, "*.egg-info"
    )
    shutil.copytree(ROOT, folder / "tree", ignore=skip, symlinks=True)
    # Without isolation nothing is downloaded: the test extra brings setuptools.
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", "../dist")
    done = subprocess.run(
        command, cwd=folder / "tree", capture_output=True, check=False, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (source,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        text = archive.read(metadata).decode()
        return Distributions(names, set(archive.namelist()), text)


def files_of(folder: str) -> set[str]:
    """Return the files of a folder of the repository, as paths from its top."""
    paths = (ROOT / folder).rglob("*")
    return {
        str(path.relative_to(ROOT))
        for path in paths
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_source_distribution_has_the_whole_folder(built: Distributions, folder: str) -> None:
    missing = files_of(folder) - built.source
    assert not missing


def test_the_source_distribution_has_the_files_of_the_top(built: Distributions) -> None:
    assert set(FILES) <= built.source


def test_nothing_that_was_made_here_is_distributed(built: Distributions) -> None:
    suspicious = (".pyc", ".sqlite", ".lua~", ".coverage")
    assert not [name for name in built.source | built.wheel if name.endswith(suspicious)]
    assert not [name for name in built.source if name.startswith((".venv", ".git/", "dist/"))]


def test_the_wheel_has_the_package_and_nothing_else(built: Distributions) -> None:
    package = files_of("edgy_bus")
    assert {name for name in built.wheel if ".dist-info/" not in name} == package
    assert "edgy_bus/py.typed" in package
    assert any(name.endswith(".lua") for name in package)


def test_the_metadata_says_where_the_project_lives(built: Distributions) -> None:
    for field in (
        "Project-URL: Changelog, ",
        "Project-URL: Source, ",
        "Classifier: Typing :: Typed",
    ):
        assert field in built.metadata
    assert "License-Expression: MIT" in built.metadata
