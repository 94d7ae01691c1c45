"""What a service has before its processes start."""

from dataclasses import dataclass

from service.assembly.archiving import OpenArchive
from service.assembly.state import OpenState
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.tracing import Tracing
from service.versions.registry import Registry


@dataclass(frozen=True, slots=True)
class Foundations:
    """The parts of a service that exist before its processes start; `archive` may be None."""

    settings: Settings
    metrics: Metrics
    tracing: Tracing
    state: OpenState
    registry: Registry
    archive: OpenArchive | None
