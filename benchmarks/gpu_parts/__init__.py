"""Parts of `benchmarks/gpu.py`: clocks, ceilings, yardsticks, and the compared runs."""
