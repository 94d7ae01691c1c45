"""The worker pool: batches formed, sent to processes, and their results brought back."""
