"""The door for versions, routes and thresholds."""
