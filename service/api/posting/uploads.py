"""Reads a request's body: images and their fields, within limits."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

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


class RecordBody(Asked):
    """The JSON body of `POST /inspections`: images of one part, or none."""

    images: list[JsonImage] = Field([], fail_fast=True, description="views of the part, or none")


class BodyKind(Enum):
    """What a body is about: views of one part, many parts, or one part with or without images."""

    PART = "part"
    BATCH = "batch"
    RECORD = "record"


@dataclass(frozen=True, slots=True)
class Posting:
    """A request's images, and its fields apart from those of single images."""

    fields: Asked
    images: tuple[Posted, ...]


_MODELS: Mapping[BodyKind, type[DetectBody | BatchBody | RecordBody]] = {
    BodyKind.PART: DetectBody,
    BodyKind.BATCH: BatchBody,
    BodyKind.RECORD: RecordBody,
}


class _ImageFields(RootModel[Annotated[list[Asked], Field(fail_fast=True)]]):
    pass


async def read_posting(
    request: Request, query: Asked, limits: BodyLimits, deadline: float, kind: BodyKind
) -> Posting:
    """Return the images of a multipart form, of JSON, or of any other body as one raw image.

    Fields of the body override `query`; in a batch, each image may have fields too.

    Raises `BodyTooLarge`, `MalformedBody`, `UnsupportedCharset`, `InvalidRequest`,
    `RequestValidationError`, `UnsupportedImage` for JSON or a form with another Content-Type,
    `DeadlineExceeded` or `ClientGone`.
    """
    content_type = request.headers.get("content-type", "")
    media_type = media_type_of(content_type)
    async with reading_until(deadline):
        if media_type == "multipart/form-data":
            form = await read_form(request, _form_limits(limits, kind))
            return await _beside_loop(_read_form, form, query, limits, kind)
        if media_type == "application/json":
            check_charset(content_type, "body")
            body = await read_raw(request, limits.max_request_bytes)
            return await _beside_loop(_read_json, body, query, limits, kind)
        content = await read_raw(request, limits.max_image_bytes)
    if not content and kind is BodyKind.RECORD:
        return Posting(query, ())
    _check_type(content, content_type)
    return Posting(query, (Posted(None, query, Upload(None, content)),))


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
    read: Callable[[Any, Asked, BodyLimits, BodyKind], Posting],
    body: Form | bytes,
    query: Asked,
    limits: BodyLimits,
    kind: BodyKind,
) -> Posting:
    """Run `read`; in a thread if the body's JSON is long, else on the event loop."""
    json_bytes = len(body) if isinstance(body, bytes) else len(body.fields.get(_IMAGES, ""))
    if json_bytes < LONG_JSON_BYTES:
        return read(body, query, limits, kind)
    return await asyncio.to_thread(read, body, query, limits, kind)


def _read_json(body: bytes, query: Asked, limits: BodyLimits, kind: BodyKind) -> Posting:
    document = read_json(body, _json_bounds(limits))
    images = document.value.get(_IMAGES) if isinstance(document.value, dict) else None
    if isinstance(images, list) and len(images) > limits.max_files:
        raise InvalidRequest(f"expected at most {limits.max_files} images, got {len(images)}")
    fields = build(_MODELS[kind], document.value, "body")
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
    return Posting(common, posted)


def _json_bounds(limits: BodyLimits) -> JsonBounds:
    """Return bounds with room for each image's `meta` and names, and for spaces."""
    return JsonBounds(
        max_bytes=2**20 + 2 * _JSON_BYTES_PER_IMAGE * limits.max_files,
        max_values=4096 + 256 * limits.max_files,
        max_members=2048 + 64 * limits.max_files,
    )


def _form_limits(limits: BodyLimits, kind: BodyKind) -> FormLimits:
    field_bytes = dict.fromkeys(_FIELDS, _MAX_FIELD_BYTES) | {"meta": _MAX_META_FIELD_BYTES}
    if kind is BodyKind.BATCH:
        field_bytes[_IMAGES] = _JSON_BYTES_PER_IMAGE * max(limits.max_files, 128)
    return FormLimits(
        limits.max_request_bytes, limits.max_image_bytes, limits.max_files, field_bytes
    )


def _read_form(form: Form, query: Asked, limits: BodyLimits, kind: BodyKind) -> Posting:
    if not form.files and kind is not BodyKind.RECORD:
        raise InvalidRequest('no image: expected at least one part named "file" with a filename')
    texts = {name: text for name in _FIELDS if (text := form.fields.get(name))}
    common = check_text(texts, "form").over(query)
    fields_of_images = [common] * len(form.files)
    if kind is BodyKind.BATCH and (text := form.fields.get(_IMAGES)):
        fields_of_images = [
            fields.over(common) for fields in _image_fields(text, len(form.files), limits)
        ]
    posted = (
        Posted(file.filename, fields, file)
        for file, fields in zip(form.files, fields_of_images, strict=True)
    )
    return Posting(common, tuple(posted))


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
