"""What a client asks for, wherever it says so: in the query, a form or JSON."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, Json, JsonValue

from service.api.documents import build
from service.api.requests import priority_of
from service.errors import InvalidRequest
from service.inspection.images.pictures import HeatmapKind
from service.inspection.options import MAX_META_BYTES, InspectOptions, PartFields

PriorityName = Literal["high", "normal"]

_HeatmapName = Annotated[HeatmapKind, Field(strict=False)]  # a word of JSON is none of Python's

_MAX_META_TEXT = 4 * MAX_META_BYTES
"""A `meta` may have spaces, and letters that JSON may write in fewer bytes."""


def _check_length(value: object) -> object:
    """Refuse a text that is too long before it is read as JSON."""
    if isinstance(value, str) and len(value) > _MAX_META_TEXT:
        raise ValueError(f"meta may have {MAX_META_BYTES} bytes as JSON, got {len(value)}")
    return value


class Asked(PartFields):
    """How to inspect an image, as far as the client says so; in JSON each value has its type."""

    model_config = ConfigDict(strict=True)

    category: str | None = Field(
        None, max_length=256, description="kind of part, one of `GET /categories`"
    )
    heatmap: _HeatmapName | None = Field(
        None,
        description="picture to answer with, as a PNG in the geometry of the upright image: `map` "
        "is grey, `overlay` in colour over the image with the regions outlined, `mask` is 255 "
        "where a pixel is above its threshold and 0 elsewhere, `raw` is 16-bit grey, 65535 times "
        "the pixel's score; by default `none`",
    )
    priority: PriorityName | None = Field(
        None, description="`high` goes before `normal` where images wait; by default `normal`"
    )

    def over(self, other: "Asked") -> "Asked":
        """Return these fields, and the other's where these say nothing."""
        said = {name: getattr(self, name) for name in Asked.model_fields}
        return other.model_copy(update={k: v for k, v in said.items() if v is not None})

    @property
    def part(self) -> PartFields:
        """The client's own fields of its part."""
        return PartFields.model_construct(
            part_id=self.part_id, station=self.station, job_id=self.job_id, meta=self.meta
        )

    def required_category(self) -> str:
        """Return the category. Raises `InvalidRequest` without one."""
        if not self.category:
            raise InvalidRequest(
                "no category: expected it as ?category=, as a form field or in the JSON"
            )
        return self.category


class AskedInText(Asked):
    """The same where every value is text: in a query or a form."""

    model_config = ConfigDict(strict=False)

    meta: Annotated[Json[dict[str, JsonValue]] | None, BeforeValidator(_check_length)] = Field(
        None, description="any JSON object, as text; comes back with the answer"
    )


def options_for(asked: Asked, base: InspectOptions) -> InspectOptions:
    """Return how to inspect an image, where `base` says what the headers ask for."""
    return replace(
        base,
        heatmap=asked.heatmap or HeatmapKind.NONE,
        priority=priority_of(asked.priority) if asked.priority else base.priority,
        part=asked.part,
    )


def check_text(fields: Mapping[str, str], where: str) -> AskedInText:
    """Read fields that are text, as of a form. Raises `RequestValidationError`."""
    return build(AskedInText, fields, where)
