"""The outbox: events written in the transaction of the row that they tell of, and the relay that moves them to the broker."""
