"""The HTTP doors, and what all of them share."""
