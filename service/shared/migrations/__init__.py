"""The steps from one schema of the shared state to the next; see `service.archive.migrations`."""
