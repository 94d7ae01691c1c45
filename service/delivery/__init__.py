"""The outbox: carries every event of the journal to every sink, in order, at least once.

deliveries = deliveries_of(settings, journal, metrics)
deliveries.start()                  # one thread a sink; none of it on the event loop

journal -> outbox -> message -> sender -> sinks/ -> a receiver
                                  |
                        ledger: position, dead letters
"""
