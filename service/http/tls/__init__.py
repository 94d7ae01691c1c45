"""TLS below the service's connections: certificate and key, handshakes, encrypted transports."""
