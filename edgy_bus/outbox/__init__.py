"""The outbox: events in the transaction of their row, and the relay that publishes events."""
