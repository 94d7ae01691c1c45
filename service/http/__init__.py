"""The HTTP server below every door: connections, body limits, error answers, the request log."""
