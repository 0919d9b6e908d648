"""The demonstration: two services, killed workers, an account."""
