"""Options of an inspection, and the fields that a client attaches to its part."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from model.inspection import Decision
from service.inspection.images.pictures import HeatmapKind
from service.workers.jobs import Priority
from service.workers.pipe.messages import Finding

MAX_META_BYTES = 4096
_MAX_MEMBERS = 32
_Name = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]


class Strict(BaseModel):
    """JSON from a client: no unknown members, and at most 32 of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _check_count(cls, value: Any) -> Any:  # noqa: ANN401 - anything may come
        """Refuse too many members with one error: pydantic makes one for each unknown member."""
        if isinstance(value, dict) and len(value) > _MAX_MEMBERS:
            raise ValueError(f"expected at most {_MAX_MEMBERS} members, got {len(value)}")
        return value


class PartFields(Strict):
    """The client's fields of its part; returned with the answer, without effect on the decision."""

    part_id: _Name | None = Field(None, description="the client's name of the part")
    station: _Name | None = Field(None, description="where on the line the image was taken")
    job_id: _Name | None = Field(None, description="the client's job, order or lot")
    meta: dict[str, JsonValue] | None = Field(
        None, description=f"any JSON object of at most {MAX_META_BYTES} bytes"
    )

    @field_validator("meta")
    @classmethod
    def _check_size(cls, meta: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
        try:
            size = len(json.dumps(meta, allow_nan=False).encode())
        except ValueError as error:
            raise ValueError("meta may contain only finite numbers") from error
        if size > MAX_META_BYTES:
            raise ValueError(f"meta may have at most {MAX_META_BYTES} bytes as JSON, got {size}")
        return meta


_NO_FIELDS = PartFields()

Drawing: TypeAlias = Callable[[Finding, tuple[int, int]], str]
"""Makes text from a finding with its map and the image's (width, height); runs in a thread."""


@dataclass(frozen=True, slots=True)
class InspectOptions:
    """How to inspect one image.

    `timeout_s` can only shorten the service's time-out; both count from `received_at` (else from
    the call), and a `deadline` replaces both. All times are those of the event loop's clock.
    A `patient` image waits for room instead of being refused. `part` is returned with the answer.
    With `anomaly_map` the result has the pixel scores (see `Finding`). `draw` makes a door's own
    picture instead of `heatmap`.

    `hold_answer` reserves memory for the picture, given its bytes, before the part is recorded.
    If there is no room it raises a `ServiceError`, and the part is UNDECIDED.

    For the record: `maps_of` are the decisions whose map is made into a file, and with
    `fingerprints` the image's SHA-256 is computed.
    """

    heatmap: HeatmapKind = HeatmapKind.NONE
    timeout_s: float | None = None
    priority: Priority = Priority.NORMAL
    part: PartFields = _NO_FIELDS
    received_at: float | None = None
    deadline: float | None = None
    patient: bool = False
    anomaly_map: bool = False
    draw: Drawing | None = None
    hold_answer: Callable[[int], None] | None = None
    maps_of: frozenset[Decision] = frozenset()
    fingerprints: bool = False

    @property
    def wants_map(self) -> bool:
        """Whether the anomaly map is needed, for the answer or for a picture."""
        return self.anomaly_map or self.wants_picture

    @property
    def wants_picture(self) -> bool:
        """Whether a picture of the anomaly map is drawn."""
        return self.heatmap is not HeatmapKind.NONE or self.draw is not None

    def within(self, longest_s: float) -> float:
        """Return the image's time-out in seconds, at most `longest_s`."""
        return longest_s if self.timeout_s is None else min(self.timeout_s, longest_s)

    def deadline_within(self, longest_s: float) -> float:
        """Return the deadline, by the event loop's clock."""
        if self.deadline is not None:
            return self.deadline
        began = self.received_at
        began = asyncio.get_running_loop().time() if began is None else began
        return began + self.within(longest_s)
