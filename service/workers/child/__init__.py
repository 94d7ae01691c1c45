"""The code inside a worker process: it loads checkpoints and runs `Detector.inspect` on batches."""
