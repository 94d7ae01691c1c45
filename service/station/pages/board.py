"""Notes what a station does, for its page: bits, results, counts, times.

board = Board(settings)
station = Station(settings, client, open_door, watchers=[board])
board.snapshot()            # from any thread
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter

from service.station.machine.faults import ErrorCode
from service.station.machine.images import PlcImage, StationImage
from service.station.machine.verdicts import Outcome, Reason, Verdict
from service.station.pages.pictures import Picture, PictureMaker
from service.station.plc.layout import PLC_WRITES, STATION_WRITES, Kind
from service.station.reports import PartReport, StageTimes

SHOWN = 20
"""Results on the page."""
_TIMED = 500
"""Parts whose times are compared."""

PLC_BITS = tuple(field for field in PLC_WRITES if field.kind is Kind.BIT)
STATION_BITS = tuple(field for field in STATION_WRITES if field.kind is Kind.BIT)
_plc_bits: Callable[[PlcImage], tuple[bool, ...]] = attrgetter(*(f.source for f in PLC_BITS))
_station_bits: Callable[[StationImage], tuple[bool, ...]] = attrgetter(
    *(field.source for field in STATION_BITS)
)


@dataclass(frozen=True, slots=True)
class ShownPart:
    """One of the latest results."""

    job: int
    recipe: int
    trigger_number: int
    part_id: str
    triggered_at: datetime
    outcome: Outcome
    inspection_ids: tuple[str, ...]
    times: StageTimes
    cameras: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A station at one moment; `results` has the newest first."""

    image: StationImage
    inputs: PlcImage
    plc_rises: tuple[int, ...]
    station_rises: tuple[int, ...]
    results: tuple[ShownPart, ...]
    counts: Mapping[tuple[Verdict, Reason], int]
    times: tuple[StageTimes, ...]
    pictures: Mapping[int, Mapping[str, Picture]]
    cameras_up: Mapping[str, bool]
    plc_beat_s: float | None
    """Seconds since the PLC's heartbeat changed; None: never."""
    step_s: float
    """Seconds since the station's last step."""
    began_at: datetime


class Board:
    """A watcher that keeps the latest of everything; `version` grows with each change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._image = StationImage(online=False)
        self._inputs = PlcImage()
        self._plc_rises = [0] * len(PLC_BITS)
        self._station_rises = [0] * len(STATION_BITS)
        self._parts: deque[ShownPart] = deque(maxlen=SHOWN)
        self._counts: Counter[tuple[Verdict, Reason]] = Counter()
        self._times: deque[StageTimes] = deque(maxlen=_TIMED)
        self._pictures: dict[int, Mapping[str, Picture]] = {}
        self._cameras_up: dict[str, bool] = {}
        self._beat_at_s: float | None = None
        self._stepped_at_s = time.monotonic()
        self._began_at = datetime.now(UTC)
        self._maker = PictureMaker(self._keep_pictures)
        self.version = 0

    def start(self) -> None:
        """Make pictures from now on, in a thread."""
        self._maker.start()

    def image_changed(self, image: StationImage, inputs: PlcImage) -> None:
        """Note a step."""
        with self._lock:
            self._stepped_at_s = time.monotonic()
            if inputs.heartbeat != self._inputs.heartbeat:
                self._beat_at_s = self._stepped_at_s
            if inputs != self._inputs:
                _count_rises(self._plc_rises, _plc_bits(self._inputs), _plc_bits(inputs))
            elif image == self._image:
                return
            _count_rises(self._station_rises, _station_bits(self._image), _station_bits(image))
            self._image, self._inputs = image, inputs
            self.version += 1

    def part_told(self, report: PartReport) -> None:
        """Note a result; its pictures come later."""
        part, outcome = report.part, report.part.told
        assert outcome is not None
        cameras = tuple(name for one in part.inspections for name in one.cameras)
        shown = ShownPart(
            job=part.job,
            recipe=part.recipe,
            trigger_number=part.trigger_number,
            part_id=part.part_id,
            triggered_at=part.triggered_at,
            outcome=outcome,
            inspection_ids=tuple(one.inspection_id for one in part.inspections),
            times=report.times,
            cameras=cameras,
        )
        with self._lock:
            if len(self._parts) == SHOWN:
                self._pictures.pop(self._parts[0].job, None)
            self._parts.append(shown)
            self._counts[outcome.verdict, outcome.reason] += 1
            self._times.append(report.times)
            self._note_cameras(report.images, cameras, outcome)
            self.version += 1
        if report.images:
            self._maker.put(part.job, report.images)

    def alarm(self, code: ErrorCode) -> None:
        """Do nothing: the image and the station's vitals have the errors."""

    def snapshot(self) -> Snapshot:
        """Return a copy; any thread may call this."""
        with self._lock:
            now_s = time.monotonic()
            return Snapshot(
                image=self._image,
                inputs=self._inputs,
                plc_rises=tuple(self._plc_rises),
                station_rises=tuple(self._station_rises),
                results=tuple(reversed(self._parts)),
                counts=dict(self._counts),
                times=tuple(self._times),
                pictures=dict(self._pictures),
                cameras_up=dict(self._cameras_up),
                plc_beat_s=None if self._beat_at_s is None else now_s - self._beat_at_s,
                step_s=now_s - self._stepped_at_s,
                began_at=self._began_at,
            )

    def close(self) -> None:
        """End the thread of the pictures."""
        self._maker.close()

    def _note_cameras(
        self, images: Mapping[str, bytes], cameras: tuple[str, ...], outcome: Outcome
    ) -> None:
        """Note which cameras gave an image, and which were silent."""
        for name in cameras:
            if name in images:
                self._cameras_up[name] = True
            elif outcome.reason is Reason.CAMERA_SILENT:
                self._cameras_up[name] = False

    def _keep_pictures(self, job: int, pictures: Mapping[str, Picture]) -> None:
        """Keep a part's pictures while the part is shown; called by the pictures' thread."""
        with self._lock:
            if any(part.job == job for part in self._parts):
                self._pictures[job] = pictures
                self.version += 1


def _count_rises(counts: list[int], before: tuple[bool, ...], after: tuple[bool, ...]) -> None:
    if before != after:
        for at, (was, now) in enumerate(zip(before, after, strict=True)):
            counts[at] += now and not was
