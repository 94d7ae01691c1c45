"""A station's status as one dictionary: the answer of `/status.json`, and all that the page shows.

status = StatusWriter(settings, board, station.vitals, service_watch).status()
status["state"]["name"], status["results"][0]["verdict"]
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from service.station.machine.states import State
from service.station.machine.verdicts import Reason, Verdict
from service.station.pages.board import PLC_BITS, STATION_BITS, Board, ShownPart, Snapshot
from service.station.pages.meanings import (
    FAIL_SAFES,
    STATES,
    VERDICTS,
    error_meaning,
    reason_meaning,
    words,
)
from service.station.pages.service_watch import ServiceState
from service.station.plc.layout import PLC_WRITES, STATION_WRITES, Field, Kind
from service.station.reports import STAGES, ScheduleState, StageTimes, Vitals
from service.station.settings import StationSettings

_TAKES_PARTS = (State.READY, State.SINGLE_EXECUTION, State.CONTINUOUS_EXECUTION)
_FEWEST_S = 2.0
_HEARTBEATS = 4
_VERDICTS = tuple(verdict for verdict in Verdict if verdict is not Verdict.NONE)


class StatusWriter:
    """Writes the status; `vitals` and the board may be asked from any thread."""

    def __init__(
        self,
        settings: StationSettings,
        board: Board,
        vitals: Callable[[], Vitals],
        service: Callable[[], ServiceState],
    ) -> None:
        self._settings = settings
        self._board = board
        self._vitals = vitals
        self._service = service
        self._longest_step_s = max(_FEWEST_S, _HEARTBEATS * settings.times.heartbeat_ms / 1_000)

    def status(self) -> dict[str, Any]:
        """Return the status now."""
        snapshot, vitals = self._board.snapshot(), self._vitals()
        image = snapshot.image
        return {
            "station": self._settings.name,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "since": snapshot.began_at.isoformat(timespec="seconds"),
            "is_live": self.is_live(snapshot),
            "is_ready": self.is_ready(snapshot),
            "state": {"name": image.state.name, "meaning": STATES[image.state]},
            "recipe": self._recipe(image.recipe),
            "errors": [
                {"code": code.name, "meaning": error_meaning(code)} for code in vitals.errors
            ],
            "bits": {
                "plc": _bits(PLC_BITS, snapshot.inputs, snapshot.plc_rises),
                "station": _bits(STATION_BITS, image, snapshot.station_rises),
            },
            "registers": {
                "plc": _registers(PLC_WRITES, snapshot.inputs),
                "station": _registers(STATION_WRITES, image),
            },
            "counts": _counts(snapshot, vitals),
            "takt_ms": self._takt(snapshot.times),
            "connections": self._connections(snapshot, vitals),
            "schedule": _schedule(vitals.schedule, self._settings),
            "results": [self._result(part, snapshot) for part in snapshot.results],
        }

    def is_live(self, snapshot: Snapshot) -> bool:
        """Whether the station has made a step lately; it makes one for each heartbeat."""
        return snapshot.step_s < self._longest_step_s

    def is_ready(self, snapshot: Snapshot) -> bool:
        """Whether parts are taken, or would be after the part in work."""
        image = snapshot.image
        return self.is_live(snapshot) and image.online and image.state in _TAKES_PARTS

    def is_plc_up(self, snapshot: Snapshot, vitals: Vitals) -> bool | None:
        """Whether a PLC is connected, and its heartbeat changes if it is watched.

        None: over HTTP no connection lasts.
        """
        if self._settings.plc.http is not None:
            return None
        timeout_ms = self._settings.times.plc_timeout_ms
        beats = not timeout_ms or (
            snapshot.plc_beat_s is not None and snapshot.plc_beat_s * 1_000 < timeout_ms
        )
        return vitals.plc_clients > 0 and beats

    def cameras_up(self, snapshot: Snapshot, vitals: Vitals) -> dict[str, bool | None]:
        """Return whether each camera is up: by its connection, else by its latest image."""
        ups = {}
        for name in self._settings.cameras:
            is_connected = vitals.cameras_up.get(name)
            latest = snapshot.cameras_up.get(name)
            ups[name] = latest if is_connected is None else is_connected and latest is not False
        return ups

    def _recipe(self, number: int) -> dict[str, Any] | None:
        recipe = self._settings.recipes.get(number)
        if recipe is None:
            return None
        return {"number": number, "name": recipe.name, "categories": dict(recipe.categories)}

    def _takt(self, times: Sequence[StageTimes]) -> dict[str, Any]:
        limits = self._settings.times
        by_stage = [part.by_stage() for part in times]
        return {
            "limit": limits.takt_ms,
            "parts": len(times),
            "stages": {stage: _spread([part[stage] for part in by_stage]) for stage in STAGES},
        }

    def _connections(self, snapshot: Snapshot, vitals: Vitals) -> dict[str, Any]:
        service, spool = self._service(), self._settings.spool
        return {
            "plc": {
                "address": vitals.plc_address,
                "is_up": self.is_plc_up(snapshot, vitals),
                "clients": vitals.plc_clients,
            },
            "cameras": self.cameras_up(snapshot, vitals),
            "service": {"url": service.url, "is_up": service.is_up, "text": service.text},
            "spool": {
                "parts": vitals.spool_parts,
                "bytes": vitals.spool_bytes,
                "max_parts": spool.max_parts,
                "max_bytes": spool.max_bytes,
            },
        }

    def _result(self, part: ShownPart, snapshot: Snapshot) -> dict[str, Any]:
        outcome = part.outcome
        pictures = snapshot.pictures.get(part.job, {})
        return {
            "job": part.job,
            "trigger_number": part.trigger_number,
            "part_id": part.part_id,
            "time": part.triggered_at.isoformat(timespec="milliseconds"),
            "verdict": outcome.verdict.name,
            "reason": outcome.reason.name,
            "meaning": reason_meaning(outcome.reason) or VERDICTS[outcome.verdict],
            "fail_safe": outcome.fail_safe.name,
            "fail_safe_meaning": FAIL_SAFES[outcome.fail_safe],
            "score": outcome.score,
            "recipe": self._recipe(part.recipe),
            "inspection_ids": list(part.inspection_ids),
            "takt_ms": part.times.by_stage(),
            "pictures": [
                {
                    "camera": camera,
                    "small": _picture_path(part.job, camera, "small"),
                    "large": _picture_path(part.job, camera, "large"),
                    "width": pictures[camera].width,
                    "height": pictures[camera].height,
                }
                for camera in part.cameras
                if camera in pictures
            ],
        }


def _picture_path(job: int, camera: str, size: str) -> str:
    return f"/pictures/{job}/{quote(camera, safe='')}/{size}.jpg"


def _bits(fields: Sequence[Field], image: Any, rises: Sequence[int]) -> list[dict[str, Any]]:  # noqa: ANN401
    return [
        {
            "name": field.name,
            "is_on": bool(field.value_in(image)),
            "rises": count,
            "meaning": field.meaning,
        }
        for field, count in zip(fields, rises, strict=True)
    ]


def _registers(fields: Sequence[Field], image: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    registers = []
    for field in fields:
        if field.kind is Kind.BIT:
            continue
        value = field.value_in(image)
        is_code = hasattr(value, "name")
        registers.append(
            {
                "name": field.name,
                "value": value if field.kind is Kind.TEXT else int(value),
                "word": words(value.name) if is_code else "",
                "meaning": field.meaning,
            }
        )
    return registers


def _counts(snapshot: Snapshot, vitals: Vitals) -> dict[str, Any]:
    verdicts = {verdict.name: 0 for verdict in _VERDICTS}
    reasons: dict[str, int] = {}
    for (verdict, reason), count in snapshot.counts.items():
        verdicts[verdict.name] += count
        if reason is not Reason.NONE:
            reasons[reason.name] = reasons.get(reason.name, 0) + count
    return {
        "verdicts": verdicts,
        "reasons": reasons,
        "triggers": vitals.triggers,
        "missed_triggers": vitals.missed_triggers,
        "overruns": vitals.overruns,
    }


def _spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Return the latest, the median, the 95th percentile and the maximum; None without values."""
    times = [value for value in values if value is not None]
    if not times:
        return None
    ordered = sorted(times)
    last = len(ordered) - 1
    return {
        "latest": times[-1],
        "median": ordered[round(0.5 * last)],
        "p95": ordered[round(0.95 * last)],
        "max": ordered[-1],
    }


def _schedule(state: ScheduleState, settings: StationSettings) -> dict[str, Any] | None:
    if not settings.schedule:
        return None
    latest, zone = state.latest, ZoneInfo(settings.time_zone or "UTC")
    next_at = state.next_at and state.next_at.astimezone(zone)
    return {
        "time_zone": settings.time_zone,
        "next_at": next_at and next_at.isoformat(timespec="seconds"),
        "next_recipe": state.next_recipe,
        "latest": latest
        and {
            "recipe": latest.recipe,
            "began_at": latest.began_at.isoformat(timespec="seconds"),
            "is_done": latest.is_done,
            "text": latest.text,
        },
    }
