"""Demonstrate edgy_bus: two services, a killed worker, and an account of every event."""
