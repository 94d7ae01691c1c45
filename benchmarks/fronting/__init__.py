"""Parts of `benchmarks.front`: the measured process, its requests, and a comparison of answers."""
