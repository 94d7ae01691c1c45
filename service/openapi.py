"""What OpenAPI cannot see in the code of the routes: bodies, examples and problems."""

from collections.abc import Container
from typing import Any

from model.inspection import Decision
from service.decisions import DECISION_HEADER, FAIL_SAFE_HEADER
from service.errors import (
    PROBLEM_TYPES,
    BodyTooLarge,
    ClientGone,
    DeadlineExceeded,
    IdempotencyKeyReused,
    InvalidRequest,
    MalformedBody,
    ServiceError,
    UndecodableImage,
)
from service.problems import PROBLEM_JSON

DESCRIPTION = """Inspects parts by camera with MambaAD networks that know only good parts.

Errors are `application/problem+json` (RFC 9457). Every answer carries `X-Request-ID`, the client's
own where it sent one. Every answer to an inspection carries `decision`, and in the header
`X-Decision`: OK, NG, REVIEW (a person decides) or UNDECIDED (not inspected, whatever went wrong).
With UNDECIDED goes `fail_safe`, in the header `X-Fail-Safe`: what the line is to do then."""

_DETAILS = {
    "malformed-body": "Missing boundary in multipart.",
    "invalid-tensor": "expected one input, 'image'; got 'images'",
    "unknown-version": "version '7' does not serve the category 'solar-mono'; serving: 1",
    "malformed-request": "the request is not HTTP/1.1",
    "unauthenticated": "no API key: expected Authorization: Bearer <key>, or X-API-Key: <key>",
    "forbidden": "the key 'line-3' has the scope detect, and this needs admin",
    "unknown-category": "no checkpoint serves the category 'botle'; have: solar-mono, solar-poly",
    "headers-too-slow": "the headers did not arrive within 10 s",
    "body-too-slow": "the body did not arrive in time: 1000 bytes in 20 s",
    "body-too-large": "an image may have 33554432 bytes, got 40000000",
    "image-too-large": "an image may have 50000000 pixels, got 50000 x 50000 = 2500000000",
    "answer-too-large": "the pictures of one answer may have 268435456 bytes: ask for fewer",
    "unsupported-image": "the content is none of the image formats taken: JPEG, PNG, BMP, TIFF, "
    "WebP",
    "unsupported-encoding": "Content-Encoding 'br' is not taken; have: gzip, deflate",
    "invalid-request": "no category: expected it as ?category= or as a form field",
    "idempotency-key-reused": "this Idempotency-Key was used with another body or path: use a new "
    "key for a new request, and the same only to repeat one",
    "undecodable-image": "the PNG image of 2000 bytes is truncated or damaged: expected a complete "
    "image file",
    "non-finite-result": "the network's answer to this image is not a finite number: the part "
    "counts neither as OK nor as NG",
    "inspection-failed": "the network failed on this image: it counts neither as OK nor as NG",
    "headers-too-large": "headers may have 32768 bytes",
    "rate-limited": "'line-3' may send 20 images a second; try again in 1 s",
    "too-many-connections": "too many connections are open",
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
_DECISION_HEADERS = {
    DECISION_HEADER: {
        "description": "the answer's decision, for clients that read no JSON",
        "schema": {"enum": [decision.value for decision in Decision]},
    },
    FAIL_SAFE_HEADER: {
        "description": "only with UNDECIDED: what the line is configured to do then",
        "schema": {"enum": ["NG", "REVIEW", "STOP"]},
    },
}
_RESULT_EXAMPLE: dict[str, Any] = {
    "filename": "cell.png",
    "part_id": "cell-00042", "station": "EL-3", "job_id": "lot-17",
    "meta": {"exposure_ms": 40},
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
}  # fmt: skip
_DETECT_EXAMPLE = {"decision": "NG", "results": [_RESULT_EXAMPLE]}
_BATCH_EXAMPLE = {
    "decision": "NG",
    "fail_safe": "NG",
    "counts": {"OK": 0, "NG": 1, "REVIEW": 0, "UNDECIDED": 1},
    "results": [
        _RESULT_EXAMPLE,
        {
            "part_id": "cell-00043",
            "category": "solar-poly",
            "decision": "UNDECIDED",
            "fail_safe": "NG",
            "error": {
                "type": PROBLEM_TYPES[UndecodableImage].uri,
                "title": PROBLEM_TYPES[UndecodableImage].title,
                "status": 422,
                "detail": _DETAILS["undecodable-image"],
                "request_id": _REQUEST_ID,
                "error": _DETAILS["undecodable-image"],
            },
        },
    ],
}


def _problems(
    status: int,
    errors: Container[type[ServiceError]] | None = None,
    *,
    inspecting: bool = True,
) -> dict[str, Any]:
    undecided = {"decision": "UNDECIDED", "fail_safe": "NG"} if inspecting else {}
    headers = _DECISION_HEADERS if inspecting else {}
    kinds = [
        kind
        for error, kind in PROBLEM_TYPES.items()
        if kind.status == status and (errors is None or error in errors)
    ]
    examples = {
        kind.slug: {
            "summary": kind.title,
            "value": {
                "type": kind.uri,
                "title": kind.title,
                "status": status,
                "detail": _DETAILS[kind.slug],
                "request_id": _REQUEST_ID,
                **undecided,
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
    waiting = _RETRY_AFTER if status in {429, 503} else {}
    return {**response, "headers": {**headers, **waiting}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the responses of a route that inspects nothing, and its problems."""
    return {status: _problems(status, inspecting=False) for status in statuses}


DETECT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": _DECISION_HEADERS,
        "content": {"application/json": {"example": _DETECT_EXAMPLE}},
    },
    **{
        status: _problems(status)
        for status in sorted(
            {kind.status for error, kind in PROBLEM_TYPES.items() if error is not ClientGone}
        )
    },
}

_REFUSED_AS_A_WHOLE = (
    MalformedBody,
    BodyTooLarge,
    InvalidRequest,
    IdempotencyKeyReused,
    DeadlineExceeded,
)
BATCH_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": _DECISION_HEADERS,
        "content": {"application/json": {"example": _BATCH_EXAMPLE}},
    },
    **{
        PROBLEM_TYPES[error].status: _problems(PROBLEM_TYPES[error].status, _REFUSED_AS_A_WHOLE)
        for error in _REFUSED_AS_A_WHOLE
    },
}
