"""What OpenAPI cannot see in the code of the routes: bodies, examples and problems."""

from typing import Any

from service.errors import PROBLEM_JSON, PROBLEM_TYPES, ClientGone
from service.schemas import HeatmapKind

DESCRIPTION = """Inspects parts by camera with MambaAD networks that know only good parts.

Errors are `application/problem+json` (RFC 9457). Every answer carries `X-Request-ID`, the client's
own where it sent one. No error is ever a decision: a part that was not inspected has none."""

CATEGORY = "kind of part, one of `GET /categories`; a form's field of that name goes before it"
HEATMAP = (
    "picture of the anomaly map to answer with, in the geometry of the upright image: `map` is "
    "grey, `overlay` is in colour over the image with the regions outlined; a form's field of that "
    "name goes before it"
)

_FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
_IMAGE_TYPES = ("image/png", "image/jpeg", "image/bmp", "image/tiff", "image/webp")

DETECT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A form, or any other body as one image. An image's format is recognised by "
        "its content: JPEG, PNG, BMP, TIFF or WebP.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "array", "minItems": 1, "items": _FILE},
                        "category": {"type": "string", "examples": ["solar-mono"]},
                        "heatmap": {"enum": [kind.value for kind in HeatmapKind]},
                    },
                },
                "encoding": {"file": {"contentType": ", ".join(_IMAGE_TYPES)}},
            },
            **{media_type: {"schema": _FILE} for media_type in _IMAGE_TYPES},
        },
    }
}

_DETAILS = {
    "malformed-body": "Missing boundary in multipart.",
    "invalid-tensor": "expected one input, 'image'; got 'images'",
    "unknown-version": "version '7' does not serve the category 'solar-mono'; serving: 1",
    "unauthenticated": "no API key: expected Authorization: Bearer <key>, or X-API-Key: <key>",
    "forbidden": "the key 'line-3' has the scope detect, and this needs admin",
    "unknown-category": "no checkpoint serves the category 'botle'; have: solar-mono, solar-poly",
    "body-too-slow": "the body did not arrive in time: 1000 bytes in 20 s",
    "body-too-large": "an image may have 33554432 bytes, got 40000000",
    "image-too-large": "an image may have 50000000 pixels, got 50000 x 50000 = 2500000000",
    "unsupported-image": "the content is none of the image formats taken: JPEG, PNG, BMP, TIFF, "
    "WebP",
    "unsupported-encoding": "Content-Encoding 'br' is not taken; have: gzip, deflate",
    "invalid-request": "no category: expected it as ?category= or as a form field",
    "undecodable-image": "the PNG image of 2000 bytes is truncated or damaged: expected a complete "
    "image file",
    "non-finite-result": "the network's answer to this image is not a finite number: the part "
    "counts neither as OK nor as NG",
    "inspection-failed": "the network failed on this image: it counts neither as OK nor as NG",
    "rate-limited": "'line-3' may make 20 requests a second; try again in 1 s",
    "bodies-full": "2147483648 bytes of requests are being received, and no more are taken",
    "queue-full": "128 images are waiting, and no more are taken",
    "no-worker-ready": "no worker is ready: they are starting, or starting again",
    "worker-lost": "the worker died with this image on it: it was not inspected",
    "unknown-model": "no version '3' of a model 'solar'; have: solar/1, solar/2",
    "conflict": "solar/1 is the stable version of 'solar-mono': route that to another first",
    "model-refused": "solar/2 was not loaded, and nothing has changed: network.safetensors is not "
    "the file that was saved",
    "state-not-written": "the change could not be kept and was not made: No space left on device",
    "checkpoint-unavailable": "checkpoint solar/2, which serves 'solar-mono', cannot be loaded",
    "deadline-exceeded": "not inspected within 30 s",
}
_REQUEST_ID = "5f0c7c9e8d1b4c5a9b3f6e2d1a0c4b7e"
_RETRY_AFTER = {
    "Retry-After": {
        "description": "seconds after which it is worth trying again",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_DETECT_EXAMPLE = {
    "results": [
        {
            "filename": "cell.png",
            "category": "solar-mono",
            "decision": "NG",
            "score": 0.913,
            "raw_score": 0.402,
            "threshold": 0.287,
            "regions": [
                {
                    "x": 96, "y": 140, "width": 61, "height": 38, "area_px": 1604,
                    "peak": {"x": 121, "y": 158}, "peak_score": 0.957,
                }
            ],
            "model": {"name": "solar", "version": "1"},
            "timings_ms": {
                "decode": 2.1, "preprocess": 1.4, "queue": 0.2, "encoder": 21.7, "decoder": 48.9,
                "anomaly_map": 3.2, "decision": 0.8, "total": 80.6,
            },
            "image": {"width": 300, "height": 300},
            "heatmap": None,
            "error": None,
        }
    ]
}  # fmt: skip


def _problems(status: int) -> dict[str, Any]:
    kinds = [kind for kind in PROBLEM_TYPES.values() if kind.status == status]
    examples = {
        kind.slug: {
            "summary": kind.title,
            "value": {
                "type": kind.uri,
                "title": kind.title,
                "status": status,
                "detail": _DETAILS[kind.slug],
                "request_id": _REQUEST_ID,
                "error": _DETAILS[kind.slug],
            },
        }
        for kind in kinds
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    response: dict[str, Any] = {
        "description": "; ".join(kind.title for kind in kinds),
        "content": {PROBLEM_JSON: {"schema": schema, "examples": examples}},
    }
    return {**response, "headers": _RETRY_AFTER} if status in {429, 503} else response


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the responses of a route that may answer with problems of these statuses."""
    return {status: _problems(status) for status in statuses}


DETECT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": _DETECT_EXAMPLE}}},
    **{
        status: _problems(status)
        for status in sorted(
            {kind.status for error, kind in PROBLEM_TYPES.items() if error is not ClientGone}
        )
    },
}
