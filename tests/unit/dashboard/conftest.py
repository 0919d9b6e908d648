"""A dashboard over the memory broker."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from edgy_bus.brokers.memory import MemoryBroker
from edgy_bus.dashboard.access import Access, Role, read_users
from edgy_bus.dashboard.app import make_app
from edgy_bus.dashboard.guesses import Guesses
from edgy_bus.dashboard.reach import Reach
from edgy_bus.dashboard.sessions import Sessions
from edgy_bus.operations import Parts
from tests.unit.dashboard.visitor import Visitor

Come = Callable[..., Visitor]

SECRETS = {role: f"{role.word}-secret-of-tests" for role in Role}

USERS = read_users(
    "\n".join(f"{role.word}-anna:{role.word}:{secret}" for role, secret in SECRETS.items())
)


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
async def come(broker: MemoryBroker) -> AsyncIterator[Come]:
    """Return a visitor of a dashboard: `come(role)`, or `come(access=…, parts=…)`."""
    async with AsyncExitStack() as stack:

        def made(
            role: Role = Role.OPERATOR,
            *,
            access: Access | None = None,
            sessions: Sessions | None = None,
            guesses: Guesses | None = None,
            parts: Parts | None = None,
        ) -> Visitor:
            chosen = access or Access(role=role, operator="anna")
            reach = Reach(parts or Parts(broker, ""), stack)
            return Visitor(make_app(chosen, reach, sessions, guesses))

        yield made
