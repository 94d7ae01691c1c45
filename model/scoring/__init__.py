"""From features to an anomaly map, a score, regions and pictures."""
