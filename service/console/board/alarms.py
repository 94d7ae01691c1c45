"""What needs a person now: workers, disk, deliveries, drift, cameras.

Each alarm is the state of something, read when it is shown; Prometheus has the alerts over time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from starlette.requests import Request

from service.api.service import Service
from service.archive.media import Media
from service.console.board.board import Board
from service.console.board.traffic import values_of
from service.console.records import PartState, state_of
from service.delivery.breaker import BreakerState
from service.delivery.deliveries import Deliveries
from service.telemetry.metrics import Metrics

_BAD_IMAGES_IN_A_ROW = 3


class AlarmKind(StrEnum):
    """What an alarm is about."""

    WORKER = "worker"  # the service cannot inspect
    DISK = "disk"
    DELIVERY = "delivery"
    DRIFT = "drift"
    CAMERA = "camera"


_ALERTS = {
    AlarmKind.WORKER: "MambaadNotReady",
    AlarmKind.DISK: "MambaadMediaNotKept",
    AlarmKind.DELIVERY: "MambaadSinkHeld",
    AlarmKind.DRIFT: "MambaadDrift",
    AlarmKind.CAMERA: "MambaadUndecided",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm: about which sink, category or station, and why, in English."""

    kind: AlarmKind
    subject: str = ""
    detail: str = ""

    @property
    def alert(self) -> str:
        """The name of the Prometheus alert whose runbook helps."""
        return _ALERTS[self.kind]


@dataclass(frozen=True, slots=True)
class AlarmSources:
    """Where alarms come from."""

    service: Service
    media: Media
    min_free_bytes: int
    deliveries: Deliveries
    metrics: Metrics

    @classmethod
    def of(cls, request: Request, service: Service) -> "AlarmSources":
        """Return the sources of a service that keeps inspections."""
        state = request.app.state
        return cls(
            service,
            state.archive.media,
            state.archive_settings.min_free_bytes,
            state.deliveries,
            service.metrics,
        )

    def now(self, board: Board) -> list[Alarm]:
        """Return the present alarms."""
        return [
            *(Alarm(AlarmKind.WORKER, "", why) for why in self.service.readiness().reasons),
            *self._of_disk(),
            *self._of_sinks(),
            *self._of_drift(),
            *_of_cameras(board),
        ]

    def _of_disk(self) -> Iterator[Alarm]:
        try:
            free = self.media.free_bytes()
        except OSError as error:
            yield Alarm(AlarmKind.DISK, "", error.strerror or str(error))
            return
        if free < self.min_free_bytes:
            yield Alarm(AlarmKind.DISK, "", f"{free / 1e9:.1f} GB")

    def _of_sinks(self) -> Iterator[Alarm]:
        for status in self.deliveries.status():
            if status.breaker is not BreakerState.CLOSED:
                yield Alarm(AlarmKind.DELIVERY, status.sink, status.last_error or "")

    def _of_drift(self) -> Iterator[Alarm]:
        for labels, value in values_of(self.metrics.drift_alarm):
            if value:
                yield Alarm(AlarmKind.DRIFT, labels["category"], labels["reason"])


def _of_cameras(board: Board) -> Iterator[Alarm]:
    for place, tile in board.tiles.items():
        newest = tile.parts[:_BAD_IMAGES_IN_A_ROW]
        is_bad = all(state_of(part) is PartState.INPUT for part in newest)
        if len(newest) == _BAD_IMAGES_IN_A_ROW and is_bad:
            why = newest[0].told_reason or newest[0].problem_detail or ""
            yield Alarm(AlarmKind.CAMERA, place.name, why)
