"""The outbox: carries every event of the journal to each sink, at least once, in order."""
