"""Listeners of telemetry."""
