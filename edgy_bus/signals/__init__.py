"""Signals, receivers and their contract, and delivery in this process."""
