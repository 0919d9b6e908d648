"""Listeners: notices become log lines and metrics; and the spans of OpenTelemetry."""
