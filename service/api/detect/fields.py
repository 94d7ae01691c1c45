"""What a client asks for, wherever it says so: in the query, a form or JSON."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, Json, JsonValue, ValidationError

from service.api.requests import priority_of
from service.errors import InvalidRequest, MalformedBody
from service.inspection.images.pictures import HeatmapKind
from service.inspection.options import InspectOptions, PartFields

PriorityName = Literal["high", "normal"]
Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """A part of a JSON body: no unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Asked(PartFields):
    """How to inspect an image, as far as the client says so."""

    category: str | None = Field(None, description="kind of part, one of `GET /categories`")
    heatmap: HeatmapKind | None = Field(
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

    meta: Json[dict[str, JsonValue]] | None = Field(
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
    return _checked(lambda: AskedInText.model_validate(fields), where)


def check_json(model: type[Model], content: bytes | str, where: str) -> Model:
    """Read JSON strictly: right types, no unknown members, no deep nesting.

    Raises `MalformedBody` for what is no JSON, `RequestValidationError` for any other.
    """
    return _checked(lambda: model.model_validate_json(content, strict=True), where)


def _checked(read: Callable[[], Model], where: str) -> Model:
    try:
        return read()
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        if not faults[0]["loc"] and faults[0]["type"] == "json_invalid":
            raise MalformedBody(f"the {where} is no JSON: {faults[0]['msg']}") from error
        raise RequestValidationError(
            [{**fault, "loc": (where, *fault["loc"])} for fault in faults]
        ) from error
