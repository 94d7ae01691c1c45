"""The state that nodes share, as the pages show it."""

from typing import TYPE_CHECKING

from service.api.service import Service

if TYPE_CHECKING:
    from service.shared.sharing import Status


def sharing_of(service: Service) -> "Status | None":
    """Return what to show of the shared state; None if this node shares nothing."""
    return service.sharing.status() if service.sharing else None
