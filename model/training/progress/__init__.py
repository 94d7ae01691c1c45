"""A training run as it goes on: its log, its state saved on disk, its end, and what it keeps."""
