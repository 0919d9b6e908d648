"""Listeners of notices: notices become log lines."""
