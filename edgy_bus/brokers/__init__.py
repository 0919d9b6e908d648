"""Brokers: `base` says what one must do, `memory` and `redis` do it."""
