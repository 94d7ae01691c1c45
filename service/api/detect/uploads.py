"""A request's body: images and what is asked of them, within its limits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from pydantic import Field, RootModel
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.api.detect.fields import Asked, AskedInText, Strict, check_json, check_text
from service.api.limits import BodyLimits, limited, read_raw
from service.api.requests import reading_until
from service.errors import InvalidRequest, MalformedBody
from service.inspection.images.sources import Base64Upload, Source, Upload

_FIELDS = tuple(AskedInText.model_fields)
_IMAGES = "images"
_JSON_BYTES_PER_IMAGE = 8192
_SHORT_JSON_BYTES = 512 * 2**10


@dataclass(frozen=True, slots=True)
class Posted:
    """An image as it was posted, and what is asked of it; `read` takes it into memory."""

    filename: str | None
    asked: Asked
    read: Callable[[], Awaitable[Source]]


class JsonImage(Strict):
    """An image in a JSON body."""

    content: str = Field(description="the image file in base64, padded, without line breaks")
    filename: str | None = Field(None, max_length=1024, description="comes back with the answer")


class AskedImage(Asked, JsonImage):
    """An image in a JSON body with fields of its own, which go before those of the request."""


class DetectBody(Asked):
    """The JSON body of `POST /detect`: images of one part."""

    images: list[JsonImage] = Field(min_length=1, description="inspected independently")


class BatchBody(Asked):
    """The JSON body of `POST /detect/batch`: any images."""

    images: list[AskedImage] = Field(min_length=1, description="inspected independently")


class _Each(RootModel[list[Asked]]):
    pass


@asynccontextmanager
async def posted_images(
    request: Request, query: Asked, limits: BodyLimits, deadline: float, *, each: bool
) -> AsyncIterator[tuple[Posted, ...]]:
    """Read a multipart form, JSON, or any other body as one raw image; at least one image.

    What a body asks for goes before `query`. With `each`, every image may ask for itself. Raises
    `BodyTooLarge` as soon as that is known, `MalformedBody`, `InvalidRequest`,
    `RequestValidationError`, `DeadlineExceeded` where the body is late, or `ClientGone`. Files lie
    open until the context ends.
    """
    async with AsyncExitStack() as files:
        async with reading_until(deadline):
            images = await _read(request, query, limits, files, each=each)
        yield images


async def _read(
    request: Request, query: Asked, limits: BodyLimits, files: AsyncExitStack, *, each: bool
) -> tuple[Posted, ...]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        body = await read_raw(request, limits.max_request_bytes)
        if len(body) < _SHORT_JSON_BYTES:
            return _read_json(body, query, limits, each=each)
        # What may be 256 MiB of text is read beside the loop and not on it.
        return await asyncio.to_thread(_read_json, body, query, limits, each=each)
    if media_type == "multipart/form-data":
        form = await _form(request, limits)
        files.push_async_callback(form.close)
        return _read_form(form, query, limits, each=each)
    content = await read_raw(request, limits.max_image_bytes)
    return (Posted(None, query, partial(_ready, Upload(None, content))),)


def _read_json(body: bytes, query: Asked, limits: BodyLimits, *, each: bool) -> tuple[Posted, ...]:
    model: type[DetectBody | BatchBody] = BatchBody if each else DetectBody
    asked = check_json(model, body, "body")
    if len(asked.images) > limits.max_files:
        raise InvalidRequest(f"expected at most {limits.max_files} images, got {len(asked.images)}")
    common = asked.over(query)
    return tuple(
        Posted(
            image.filename,
            image.over(common) if isinstance(image, AskedImage) else common,
            partial(_ready, Base64Upload(image.filename, image.content)),
        )
        for image in asked.images
    )


async def _form(request: Request, limits: BodyLimits) -> FormData:
    bounded = limited(request, limits.max_request_bytes)
    try:
        parser = MultiPartParser(
            bounded.headers,
            bounded.stream(),
            max_files=limits.max_files,
            max_fields=2 * len(_FIELDS),
            max_part_size=_JSON_BYTES_PER_IMAGE * max(limits.max_files, 128),
        )
        # Files stay in memory, where `bodies` counts them: a disk may be full, or read-only.
        parser.spool_max_size = limits.max_request_bytes
        return await parser.parse()
    except MultiPartException as error:
        raise MalformedBody(f"the form cannot be read: {error.message}") from error
    except ValueError as error:  # a charset or a boundary that is none
        raise MalformedBody("the form cannot be read: its Content-Type is impossible") from error


def _read_form(
    form: FormData, query: Asked, limits: BodyLimits, *, each: bool
) -> tuple[Posted, ...]:
    names = ("file", *_FIELDS, *([_IMAGES] if each else []))
    _check_names(form, names)
    files = [value for value in form.getlist("file") if isinstance(value, UploadFile)]
    if not files:
        raise InvalidRequest('no image: expected one or several parts named "file" with a filename')
    texts = {name: _text(form, name) for name in _FIELDS}
    common = check_text({name: text for name, text in texts.items() if text}, "form").over(query)
    own = _each_asked(_text(form, _IMAGES), len(files)) or [common] * len(files)
    return tuple(
        Posted(
            file.filename or None,
            asked.over(common),
            partial(_read_file, file, limits.max_image_bytes),
        )
        for file, asked in zip(files, own, strict=True)
    )


def _each_asked(text: str, files: int) -> list[Asked]:
    asked = check_json(_Each, text, "form").root if text else []
    if text and len(asked) != files:
        raise InvalidRequest(
            f"the form field {_IMAGES!r} must have one object for each file: "
            f"expected {files}, got {len(asked)}"
        )
    return asked


async def _ready(source: Source) -> Source:
    return source


async def _read_file(file: UploadFile, max_bytes: int) -> Upload:
    """Read one part; one byte more than allowed is enough for `decoding` to refuse it."""
    await file.seek(0)
    return Upload(file.filename or None, await file.read(max_bytes + 1))


def _check_names(form: FormData, names: tuple[str, ...]) -> None:
    unknown = sorted(set(form) - set(names))
    if unknown:
        raise InvalidRequest(
            f"unknown form field(s) {', '.join(repr(name[:50]) for name in unknown[:10])}; "
            f"expected: {', '.join(names)}"
        )


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    if not isinstance(value, str):
        raise InvalidRequest(f"the form field {name!r} is a file; expected text")
    return value
