"""The page Thresholds: what another threshold would have decided, and setting it."""
