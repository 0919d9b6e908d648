"""Test `edgy_bus.integrations`, without a network."""
