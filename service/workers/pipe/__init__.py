"""What the service and a worker process say to each other, and the memory they share."""
