"""The demonstration: two services against each other, a killed worker, and an account of every event."""
