"""The contract of a service with every type of field."""

from pathlib import Path
from typing import Any

import pytest

from edgy_bus.codec import dumps, loads
from edgy_bus.contracts import asyncapi
from tests.unit.contracts.shop import Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """The service `shop`, which is not started."""
    return Shop(f"sqlite:///{tmp_path}/shop.db")


@pytest.fixture
def document(shop: Shop) -> Any:
    """The AsyncAPI document of the shop, as a file contains it."""
    return loads(dumps(asyncapi(shop.contract())))
