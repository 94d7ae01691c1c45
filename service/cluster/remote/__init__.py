"""Code in the processes that belong to Ray: the bridge, the manager and the workers' actors."""
