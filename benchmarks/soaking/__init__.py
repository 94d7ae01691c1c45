"""Parts of `benchmarks.soak`: traffic, hostile requests, watching, probing."""
