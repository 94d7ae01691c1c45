"""Reads a request's body: images and their fields, within limits."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field, RootModel
from starlette.requests import Request

from service.api.charsets import check_charset
from service.api.documents import (
    LONG_JSON_BYTES,
    Document,
    JsonBounds,
    build,
    media_type_of,
    read_json,
)
from service.api.limits import BodyLimits, read_raw
from service.api.posting.fields import Asked, AskedInText, check_text
from service.api.posting.forms import Form, FormLimits, read_form
from service.api.requests import reading_until
from service.errors import InvalidRequest, UnsupportedImage
from service.inspection.images.sources import Base64Upload, Source, Upload
from service.inspection.options import Strict

_FIELDS = tuple(AskedInText.model_fields)
_IMAGES = "images"
_JSON_BYTES_PER_IMAGE = 8192
_MAX_FIELD_BYTES = 4096
_MAX_META_FIELD_BYTES = 64 * 2**10
_OTHER_TYPES = (
    (re.compile(rb"\s*[\[{]"), "JSON", "application/json"),
    (
        re.compile(rb"--[^\r\n]+\r\ncontent-disposition:", re.IGNORECASE),
        "a form",
        "multipart/form-data with its boundary",
    ),
)
"""How JSON and forms begin; no image format begins like this."""


@dataclass(frozen=True, slots=True)
class Posted:
    """A posted image and its fields."""

    filename: str | None
    fields: Asked
    source: Source


class JsonImage(Strict):
    """An image in a JSON body."""

    model_config = ConfigDict(strict=True)

    content: str = Field(description="the image file in base64, padded, without line breaks")
    filename: str | None = Field(None, max_length=1024, description="returned in the answer")


class AskedImage(Asked, JsonImage):
    """An image in a JSON body with fields that override those of the request."""


class DetectBody(Asked):
    """The JSON body of `POST /detect`: images of one part."""

    images: list[JsonImage] = Field(
        min_length=1, fail_fast=True, description="inspected independently"
    )


class BatchBody(Asked):
    """The JSON body of `POST /detect/batch`: images of any parts."""

    images: list[AskedImage] = Field(
        min_length=1, fail_fast=True, description="inspected independently"
    )


class _ImageFields(RootModel[Annotated[list[Asked], Field(fail_fast=True)]]):
    pass


async def posted_images(
    request: Request, query: Asked, limits: BodyLimits, deadline: float, *, per_image: bool
) -> tuple[Posted, ...]:
    """Return the images of a multipart form, of JSON, or of any other body as one raw image.

    Fields of the body override `query`; with `per_image`, each image may have fields too.

    Raises `BodyTooLarge`, `MalformedBody`, `UnsupportedCharset`, `InvalidRequest`,
    `RequestValidationError`, `UnsupportedImage` for JSON or a form with another Content-Type,
    `DeadlineExceeded` or `ClientGone`.
    """
    content_type = request.headers.get("content-type", "")
    media_type = media_type_of(content_type)
    async with reading_until(deadline):
        if media_type == "multipart/form-data":
            form = await read_form(request, _form_limits(limits, per_image=per_image))
            return await _beside_loop(_form_images, form, query, limits, per_image=per_image)
        if media_type == "application/json":
            check_charset(content_type, "body")
            body = await read_raw(request, limits.max_request_bytes)
            return await _beside_loop(_json_images, body, query, limits, per_image=per_image)
        content = await read_raw(request, limits.max_image_bytes)
    _check_type(content, content_type)
    return (Posted(None, query, Upload(None, content)),)


def _check_type(content: bytes, content_type: str) -> None:
    """Raise `UnsupportedImage` for JSON or a form sent as an image, as curl's `-d` does."""
    for begin, looks_like, right_type in _OTHER_TYPES:
        if begin.match(content[:1024]):
            got = repr(content_type[:100]) if content_type else "missing"
            raise UnsupportedImage(
                f"the body looks like {looks_like}, but its Content-Type is {got}: send "
                f"{right_type}"
            )


async def _beside_loop(
    read: Callable[..., tuple[Posted, ...]],
    body: Form | bytes,
    query: Asked,
    limits: BodyLimits,
    *,
    per_image: bool,
) -> tuple[Posted, ...]:
    """Run `read`; in a thread if the body's JSON is long, else on the event loop."""
    json_bytes = len(body) if isinstance(body, bytes) else len(body.fields.get(_IMAGES, ""))
    if json_bytes < LONG_JSON_BYTES:
        return read(body, query, limits, per_image=per_image)
    return await asyncio.to_thread(read, body, query, limits, per_image=per_image)


def _json_images(
    body: bytes, query: Asked, limits: BodyLimits, *, per_image: bool
) -> tuple[Posted, ...]:
    model: type[DetectBody | BatchBody] = BatchBody if per_image else DetectBody
    document = read_json(body, _json_bounds(limits))
    images = document.value.get(_IMAGES) if isinstance(document.value, dict) else None
    if isinstance(images, list) and len(images) > limits.max_files:
        raise InvalidRequest(f"expected at most {limits.max_files} images, got {len(images)}")
    fields = build(model, document.value, "body")
    common = fields.over(query)
    max_base64 = limits.max_image_bytes * 4 // 3 + 4
    posted = tuple(
        Posted(
            image.filename,
            image.over(common) if isinstance(image, AskedImage) else common,
            Base64Upload(image.filename, document.long_text(image.content, max_base64)),
        )
        for image in fields.images
    )
    document.close()
    return posted


def _json_bounds(limits: BodyLimits) -> JsonBounds:
    """Return bounds with room for each image's `meta` and names, and for spaces."""
    return JsonBounds(
        max_bytes=2**20 + 2 * _JSON_BYTES_PER_IMAGE * limits.max_files,
        max_values=4096 + 256 * limits.max_files,
        max_members=2048 + 64 * limits.max_files,
    )


def _form_limits(limits: BodyLimits, *, per_image: bool) -> FormLimits:
    field_bytes = dict.fromkeys(_FIELDS, _MAX_FIELD_BYTES) | {"meta": _MAX_META_FIELD_BYTES}
    if per_image:
        field_bytes[_IMAGES] = _JSON_BYTES_PER_IMAGE * max(limits.max_files, 128)
    return FormLimits(
        limits.max_request_bytes, limits.max_image_bytes, limits.max_files, field_bytes
    )


def _form_images(
    form: Form, query: Asked, limits: BodyLimits, *, per_image: bool
) -> tuple[Posted, ...]:
    if not form.files:
        raise InvalidRequest('no image: expected at least one part named "file" with a filename')
    texts = {name: text for name in _FIELDS if (text := form.fields.get(name))}
    common = check_text(texts, "form").over(query)
    fields_of_images = [common] * len(form.files)
    if per_image and (text := form.fields.get(_IMAGES)):
        fields_of_images = [
            fields.over(common) for fields in _image_fields(text, len(form.files), limits)
        ]
    return tuple(
        Posted(file.filename, fields, file)
        for file, fields in zip(form.files, fields_of_images, strict=True)
    )


def _image_fields(text: str, files: int, limits: BodyLimits) -> list[Asked]:
    document: Document = read_json(text.encode(), _json_bounds(limits), "form")
    document.close()
    value = document.value
    if isinstance(value, list) and len(value) != files:
        raise InvalidRequest(
            f"the form field {_IMAGES!r} needs one object for each file: expected {files}, "
            f"got {len(value)}"
        )
    return build(_ImageFields, value, "form").root
