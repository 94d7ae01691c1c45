"""The messages between the service and a worker process, and the memory that both share."""
