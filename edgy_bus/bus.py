"""The facade: the only place that wires concrete parts together."""
