"""The fields of a request, from the query, a form or JSON."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import Depends, Request
from pydantic import BeforeValidator, ConfigDict, Field, Json, JsonValue

from service.api.documents import build
from service.api.requests import priority_of
from service.api.submissions import SubmissionFields
from service.errors import InvalidRequest
from service.inspection.images.pictures import HeatmapKind
from service.inspection.options import MAX_META_BYTES, InspectOptions, PartFields

PriorityName = Literal["high", "normal"]

_HeatmapName = Annotated[HeatmapKind, Field(strict=False)]  # JSON has no enum

_MAX_META_TEXT = 4 * MAX_META_BYTES
"""More than `MAX_META_BYTES`: the text may have spaces and escapes."""


def _check_length(value: object) -> object:
    """Refuse too long a text before it is parsed as JSON."""
    if isinstance(value, str) and len(value) > _MAX_META_TEXT:
        raise ValueError(f"meta may have {MAX_META_BYTES} bytes as JSON, got {len(value)}")
    return value


_NO_PART = PartFields()


class Asked(PartFields, SubmissionFields):
    """A client's fields of an image; in JSON each value has its type."""

    model_config = ConfigDict(strict=True)

    category: str | None = Field(
        None, max_length=256, description="kind of part, one of `GET /categories`"
    )
    heatmap: _HeatmapName | None = Field(
        None,
        description="heatmap in the answer, a PNG in the geometry of the upright image: `map` is "
        "grey; `overlay` is in colour over the image, with outlined regions; `mask` is 255 for "
        "pixels above their threshold, else 0; `raw` is 16-bit grey, 65535 times the pixel's "
        "score; by default `none`",
    )
    priority: PriorityName | None = Field(
        None, description="waiting `high` images overtake `normal` ones; by default `normal`"
    )

    def over(self, other: "Asked") -> "Asked":
        """Return these fields, with missing ones taken from `other`."""
        fields = {name: getattr(self, name) for name in Asked.model_fields}
        return other.model_copy(update={k: v for k, v in fields.items() if v is not None})

    @property
    def part(self) -> PartFields:
        """The fields that identify the part."""
        if (self.part_id, self.station, self.job_id, self.meta) == (None,) * 4:
            return _NO_PART
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
    """The same fields from a query or a form, where every value is text."""

    model_config = ConfigDict(strict=False)

    meta: Annotated[Json[dict[str, JsonValue]] | None, BeforeValidator(_check_length)] = Field(
        None, description="any JSON object, as text; returned in the answer"
    )


async def fields_in_query(request: Request) -> AskedInText:
    """Return the fields in a query. Raises `RequestValidationError`."""
    return build(AskedInText, dict(request.query_params), "query")


FieldsInQuery = Annotated[AskedInText, Depends(fields_in_query)]
"""The fields in a query. Raises `RequestValidationError`.

FastAPI's own reading of a query into a model takes a third of a request's time; `openapi` documents
the fields."""


def options_for(fields: Asked, base: InspectOptions) -> InspectOptions:
    """Return an image's options; `base` comes from the request's headers."""
    return replace(
        base,
        heatmap=fields.heatmap or HeatmapKind.NONE,
        priority=priority_of(fields.priority) if fields.priority else base.priority,
        part=fields.part,
    )


def check_text(fields: Mapping[str, str], where: str) -> AskedInText:
    """Parse the fields of a form. Raises `RequestValidationError`."""
    return build(AskedInText, fields, where)
