"""How the service reports on itself: Prometheus metrics, JSON logs, and OpenTelemetry traces."""
