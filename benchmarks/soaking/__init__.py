"""What `benchmarks.soak` is made of: traffic, hostile requests, what is watched, who probes."""
