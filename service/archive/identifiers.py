"""The ids of inspections and events; see `service.identifiers`."""

from service.identifiers import new_id, parse_id

__all__ = ["new_id", "parse_id"]
