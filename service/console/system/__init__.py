"""The page System: workers, queues, deliveries, keys, audit, drift, alerts."""
