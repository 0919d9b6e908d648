"""Short chaos runs, as part of the tests: real processes and servers, every kind of fault, nothing lost, reordered or done twice."""

import pytest

from edgy_bus.testing.servers import Server
from tests.chaos.run import described, run


@pytest.mark.timeout(240)
async def test_on_postgresql(postgres_server: Server) -> None:
    result = await run(25, seed=1, url=postgres_server.url, between=0.8)
    assert result.report.faults == {}, described(result)
    assert result.events > 500
    assert len(result.faults) >= 8, "too little went wrong for it to mean anything"
    assert result.report.redeliveries > 0


@pytest.mark.timeout(240)
async def test_on_sqlite() -> None:
    result = await run(20, seed=2, url="", between=0.8)
    assert result.report.faults == {}, described(result)
    assert result.events > 300
    assert len(result.faults) >= 6, "too little went wrong for it to mean anything"
