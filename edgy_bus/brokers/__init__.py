"""Brokers: `base` defines the roles of a broker, `memory` and `redis` implement them."""
