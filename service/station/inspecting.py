"""Takes a part's images, checks them, and has the service inspect them before the deadline.

frames = await inspector.take(await inspector.arm(part))
answers = await inspector.inspect(part, frames, timeout_ms=400)
worst_outcome([answer.outcome for answer in answers])
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from service.client import AsyncClient, InspectionError, Result
from service.identifiers import new_id
from service.station.cameras.camera import Camera, CameraSilent, Frame, Shot, Take
from service.station.cameras.checking import ImageChecker
from service.station.cameras.opening import open_camera
from service.station.machine.verdicts import Outcome, Reason, Verdict
from service.station.outcomes import outcome_of_error, outcome_of_result, told_of, worst_outcome
from service.station.parts import PartInspection, SpooledPart
from service.station.reports import Answer
from service.station.settings import StationSettings

logger = logging.getLogger("service.parts")

_TEST_SIDE = 256
_MOST_CHARACTERS = 256
"""Of a part's name in the archive."""
_TEST_TIMEOUT_MS = 20_000.0


class Inspector:
    """The station's cameras and its client of the service."""

    def __init__(self, settings: StationSettings, client: AsyncClient) -> None:
        self._settings = settings
        self._client = client
        self.cameras: dict[str, Camera] = {
            name: open_camera(name, camera) for name, camera in settings.cameras.items()
        }
        self._checkers = {name: ImageChecker(camera) for name, camera in settings.cameras.items()}

    def inspections_of(self, recipe: int) -> tuple[PartInspection, ...]:
        """Return the inspections of a new part: one for each category, with its cameras."""
        cameras: dict[str, list[str]] = {}
        for camera, category in self._settings.recipes[recipe].categories.items():
            cameras.setdefault(category, []).append(camera)
        return tuple(
            PartInspection(category, str(new_id()), tuple(names))
            for category, names in cameras.items()
        )

    async def open(self) -> None:
        """Have the cameras connect; a camera that is away keeps nobody waiting."""
        await asyncio.gather(*(camera.open() for camera in self.cameras.values()))

    async def arm(self, part: SpooledPart) -> dict[str, Take]:
        """Arm the part's cameras; one that cannot be armed is silent, the others take images."""
        shot = Shot(part.trigger_number, part.part_id)
        names = cameras_of(part)
        arming = (self.cameras[name].arm(shot) for name in names)
        armed = {}
        for name, take in zip(
            names, await asyncio.gather(*arming, return_exceptions=True), strict=True
        ):
            if isinstance(take, CameraSilent):
                logger.warning("%s", take)
            elif isinstance(take, BaseException):
                raise take
            else:
                armed[name] = take
        return armed

    async def take(self, takes: Mapping[str, Take]) -> dict[str, Frame]:
        """Return the images of those armed cameras that are not silent."""
        taking = (take() for take in takes.values())
        frames = await asyncio.gather(*taking, return_exceptions=True)
        taken = {}
        for name, frame in zip(takes, frames, strict=True):
            if isinstance(frame, Frame):
                taken[name] = frame
            elif isinstance(frame, CameraSilent):
                logger.warning("%s", frame)
            else:
                raise frame
        return taken

    async def inspect(
        self, part: SpooledPart, frames: Mapping[str, Frame], timeout_ms: float
    ) -> list[Answer]:
        """Return the answer for each inspection; a camera without a frame was silent."""
        checks = asyncio.gather(
            *(
                asyncio.to_thread(self._checkers[name].check, frame.content)
                for name, frame in frames.items()
            )
        )
        answers = await asyncio.gather(
            *(self._detect(part, one, frames, timeout_ms) for one in part.inspections)
        )
        reasons = dict(zip(frames, await checks, strict=True))
        return [
            _checked(answer, [reasons[name] for name in one.cameras if name in reasons])
            for answer, one in zip(answers, part.inspections, strict=True)
        ]

    async def warm(self, category: str, timeout_s: float) -> None:
        """Have the service load a category on every worker. Raises `InspectionError`."""
        await self._client.warm(category, timeout_ms=1_000 * timeout_s)

    async def test(self, category: str) -> Result:
        """Return the service's result of a grey image, a test. Raises `InspectionError`."""
        (result,) = await self._client.detect(
            _grey_image(), category=category, station=self._settings.name, origin="test",
            timeout_ms=_TEST_TIMEOUT_MS,
        )  # fmt: skip
        return result.require()

    async def close(self) -> None:
        """Give back the cameras."""
        await asyncio.gather(*(camera.close() for camera in self.cameras.values()))

    async def _detect(
        self,
        part: SpooledPart,
        one: PartInspection,
        frames: Mapping[str, Frame],
        timeout_ms: float,
    ) -> Answer:
        if any(name not in frames for name in one.cameras):
            silent = Outcome(Verdict.UNDECIDED, Reason.CAMERA_SILENT)
            return Answer(one.inspection_id, silent)
        if timeout_ms <= 0:
            return Answer(one.inspection_id, Outcome(Verdict.UNDECIDED, Reason.DEADLINE))
        captured_at = min(frames[name].captured_at for name in one.cameras)
        try:
            results = await self._client.detect(
                [frames[name].content for name in one.cameras],
                category=one.category,
                inspection_id=one.inspection_id,
                captured_at=captured_at,
                timeout_ms=timeout_ms,
                **part_fields(part, self._settings.name, one.cameras),
            )
        except InspectionError as error:
            return Answer(one.inspection_id, outcome_of_error(error))
        outcome = worst_outcome([outcome_of_result(result) for result in results])
        archived = all(result.archived is True for result in results)
        archived_as = told_of(outcome) if archived else None
        return Answer(one.inspection_id, outcome, archived_as, tuple(results))


def cameras_of(part: SpooledPart) -> list[str]:
    """Return the names of a part's cameras."""
    return [name for inspection in part.inspections for name in inspection.cameras]


def archived_name(part_id: str) -> str:
    r"""Return a part's name as the archive takes it: others than printable characters escaped.

    >>> archived_name("AB\u202e1"), archived_name("AB\u202d1"), archived_name("cell-17")
    ('AB\\u202e1', 'AB\\u202d1', 'cell-17')
    """
    name = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in part_id
    )
    return name[:_MOST_CHARACTERS]


def part_fields(part: SpooledPart, station: str, cameras: Sequence[str]) -> dict[str, Any]:
    """Return the fields that every request about a part has; `cameras` names its views."""
    return {
        "part_id": archived_name(part.part_id) or None,
        "station": station,
        "meta": {
            "trigger_number": part.trigger_number,
            "recipe": part.recipe,
            "cameras": list(cameras),
        },
    }


def _checked(answer: Answer, reasons: list[Reason]) -> Answer:
    """Return an answer with the problems of its images."""
    problems = [
        Outcome(Verdict.INPUT_PROBLEM, reason) for reason in reasons if reason is not Reason.NONE
    ]
    if not problems:
        return answer
    return replace(answer, outcome=worst_outcome([answer.outcome, *problems]))


def _grey_image() -> bytes:
    content = BytesIO()
    ramp = np.linspace(64, 192, _TEST_SIDE, dtype=np.uint8)
    Image.fromarray(np.tile(ramp, (_TEST_SIDE, 1))).save(content, "PNG")
    return content.getvalue()
