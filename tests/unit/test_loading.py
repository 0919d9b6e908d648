"""MODULE:ATTRIBUTE, and what is said about every way to get it wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgy_bus.bus import Bus
from edgy_bus.errors import ConfigurationError
from edgy_bus.loading import load_bus


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    package = tmp_path / "shop_for_loading"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "app.py").write_text(
        "import edgy_bus\n"
        "class place:\n"
        "    bus = edgy_bus.Bus(service='inner')\n"
        "bus = edgy_bus.Bus(service='shop')\n"
        "other = 3\n"
        "def create_bus(): return bus\n"
        "def make_nothing(): return None\n"
        "def create_from(url): return bus\n"
        "async def create_slowly(): return bus\n"
        "def main(): raise SystemExit('the program ran')\n"
    )
    (package / "broken.py").write_text("import a_module_that_is_not_there\n")
    (package / "empty.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return


def test_a_bus_is_found_in_the_current_folder() -> None:
    assert isinstance(load_bus("shop_for_loading.app:bus"), Bus)
    assert load_bus("shop_for_loading.app:place.bus").service == "inner"


def test_a_function_makes_the_bus() -> None:
    assert load_bus("shop_for_loading.app:create_bus").service == "shop"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("shop_for_loading.app", "write MODULE:ATTRIBUTE, for example app:bus"),
        (":bus", "write MODULE:ATTRIBUTE"),
        ("no_such_module:bus", "there is no module 'no_such_module': looked in"),
        ("shop_for_loading.nowhere:bus", "there is no module 'shop_for_loading.nowhere'"),
        ("shop_for_loading.app:buss", "has no 'buss'; it has the bus shop_for_loading.app:bus"),
        ("shop_for_loading.empty:bus", "has no 'bus'; there is no Bus in that module"),
        (
            "shop_for_loading.app:other",
            "is not a Bus but a value of type int; it has the bus shop_for_loading.app:bus",
        ),
        ("shop_for_loading.app:main", "is a function; a function that makes the bus is named"),
        ("shop_for_loading.app:create_from", "without arguments: missing a required argument"),
        ("shop_for_loading.app:create_slowly", "write it with a plain def"),
        ("shop_for_loading.app:make_nothing", "does not return a Bus but a value of type NoneType"),
    ],
)
def test_what_is_wrong_is_said(target: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_bus(target)
    assert message in str(caught.value)


def test_an_error_inside_the_module_is_not_disguised() -> None:
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        load_bus("shop_for_loading.broken:bus")
