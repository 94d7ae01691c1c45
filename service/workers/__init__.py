"""The worker pool: forms batches, sends each to a worker process, and returns the results.

`pool` picks a worker for each job. The worker's `batcher` has a bounded queue, and refuses a job at
once when the queue is full, or when `latency` predicts that the job would be late. `lane` sends the
next batch when the device is free. Pixels reach the process through shared memory (`pipe`), where
`child` computes them. A process that dies, hangs or falls silent loses only its current batches,
which get 503, and is started again; on a CPU, a `spare` takes over.
"""
