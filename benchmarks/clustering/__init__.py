"""Ray nodes to measure, and what is measured of them; see `benchmarks.cluster`."""
