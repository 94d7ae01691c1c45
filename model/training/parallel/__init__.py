"""Training by several processes: each takes its rows of every batch."""
