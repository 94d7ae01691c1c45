"""A request's body: images and options, within its limits."""

from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from service.errors import BodyTooLarge, InvalidRequest, MalformedBody
from service.schemas import HeatmapKind

_FIELDS = ("category", "heatmap")


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large a request may be, in bytes, and how many images it may hold."""

    max_image_bytes: int
    max_request_bytes: int
    max_files: int


@dataclass(frozen=True, slots=True)
class Upload:
    """One posted image file."""

    filename: str | None
    content: bytes


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """What a client asks for: images of one category; at least one image."""

    category: str
    heatmap: HeatmapKind
    uploads: tuple[Upload, ...]


async def read_request(
    request: Request, category: str | None, heatmap: HeatmapKind | None, limits: BodyLimits
) -> DetectRequest:
    """Read a multipart form, or any other body as one raw image.

    `category` and `heatmap` are those of the query string; a form's fields go before them. Raises
    `BodyTooLarge` as soon as that is known, `MalformedBody` or `InvalidRequest`.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        content = await read_raw(request, limits.max_image_bytes)
        upload = Upload(None, content)
        return DetectRequest(_required(category), heatmap or HeatmapKind.NONE, (upload,))
    try:
        form = await _limited(request, limits.max_request_bytes).form(
            max_files=limits.max_files, max_fields=2 * len(_FIELDS)
        )
    except HTTPException as error:
        raise MalformedBody(f"the form cannot be read: {error.detail}") from error
    try:
        return await _read_form(form, category, heatmap, limits)
    finally:
        await form.close()


async def _read_form(
    form: FormData, category: str | None, heatmap: HeatmapKind | None, limits: BodyLimits
) -> DetectRequest:
    _check_names(form)
    files = [value for value in form.getlist("file") if isinstance(value, UploadFile)]
    if not files:
        raise InvalidRequest('no image: expected one or several parts named "file" with a filename')
    category = _text(form, "category") or category
    kind = _text(form, "heatmap")
    return DetectRequest(
        _required(category),
        _heatmap(kind) if kind else heatmap or HeatmapKind.NONE,
        tuple([await _read_file(file, limits.max_image_bytes) for file in files]),
    )


async def _read_file(file: UploadFile, max_bytes: int) -> Upload:
    """Read one part; one byte more than allowed is enough for `decoding` to refuse it."""
    return Upload(file.filename or None, await file.read(max_bytes + 1))


async def read_raw(request: Request, max_bytes: int) -> bytes:
    """Read a body that is one thing. Raises `BodyTooLarge`, or Starlette's `ClientDisconnect`."""
    return await _limited(request, max_bytes).body()


def _limited(request: Request, max_bytes: int) -> Request:
    """Return the request with a body that raises `BodyTooLarge` beyond `max_bytes`."""
    refusal = BodyTooLarge(f"the body may have {max_bytes} bytes, and has more")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise refusal
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > max_bytes:
            raise refusal
        return message

    return Request(request.scope, receive)


def _check_names(form: FormData) -> None:
    unknown = sorted(set(form) - {"file", *_FIELDS})
    if unknown:
        raise InvalidRequest(
            f"unknown form field(s) {', '.join(map(repr, unknown))}; "
            f"expected: file, {', '.join(_FIELDS)}"
        )


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"the form field {name!r} is a file; expected text")
    return value


def _required(category: str | None) -> str:
    if not category:
        raise InvalidRequest("no category: expected it as ?category= or as a form field")
    return category


def _heatmap(value: str) -> HeatmapKind:
    try:
        return HeatmapKind(value)
    except ValueError as error:
        raise InvalidRequest(
            f"heatmap must be one of {', '.join(HeatmapKind)}, got {value[:50]!r}"
        ) from error
