"""What `benchmarks/gpu.py` is made of: clocks, ceilings, yardsticks, and what is held to them."""
