"""The HTTP server below every door: connections, bodies, problems, the request log."""
