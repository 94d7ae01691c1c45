"""OpenAPI that FastAPI cannot derive from the routes: headers, examples and problems."""

from collections.abc import Container
from typing import Any

from model.inspection import Decision
from service.errors import (
    BodyTooLarge,
    ClientGone,
    DeadlineExceeded,
    IdempotencyKeyReused,
    InvalidInspectionId,
    InvalidRequest,
    MalformedBody,
    RateLimited,
    ServiceError,
    Unavailable,
    UndecodableImage,
)
from service.http.decision_headers import DECISION_HEADER, FAIL_SAFE_HEADER
from service.http.problems import PROBLEM_JSON
from service.problem_types import PROBLEM_TYPES

DESCRIPTION = """Inspects images of parts with MambaAD networks that were trained on good parts.

Errors are `application/problem+json` (RFC 9457). Every answer has the header `X-Request-ID`, with
the client's id if it sent one. Every answer to an inspection has a `decision`, also in the header
`X-Decision`: OK, NG, REVIEW (a person decides) or UNDECIDED (not inspected, for any reason).
UNDECIDED comes with `fail_safe`, also in the header `X-Fail-Safe`: how to treat the part. A part
has an inspection id, the client's or a new one, in the header `X-Inspection-ID`: a repetition with
the same id gets the recorded decision. Requests from a browser, as from this page, are tests, which
are recorded but neither delivered nor counted."""

_REQUEST_ID = "5f0c7c9e8d1b4c5a9b3f6e2d1a0c4b7e"
_RETRY_AFTER = {
    "Retry-After": {
        "description": "seconds to wait before a retry",
        "schema": {"type": "integer", "minimum": 1},
    }
}
_RECORD_HEADERS = {
    "X-Inspection-ID": {
        "description": "the id under which the part is recorded",
        "schema": {"type": "string", "format": "uuid"},
    },
    "X-Archived": {
        "description": "whether the inspection is on disk; absent if nobody waited for it",
        "schema": {"enum": ["true", "false"]},
    },
    "X-Inspection-Replayed": {
        "description": "`true` for the decision of an earlier request with this id",
        "schema": {"enum": ["true"]},
    },
}
_DECISION_HEADERS = {
    DECISION_HEADER: {
        "description": "the answer's decision, for clients that do not parse JSON",
        "schema": {"enum": [decision.value for decision in Decision]},
    },
    FAIL_SAFE_HEADER: {
        "description": "only with UNDECIDED: how to treat the part, as configured",
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
    "engine": "torch, float32",
    "timings_ms": {
        "decode": 2.1, "preprocess": 1.4, "queue": 0.2, "encoder": 21.7, "decoder": 48.9,
        "anomaly_map": 3.2, "decision": 0.8, "total": 80.6,
    },
    "image": {"width": 300, "height": 300},
}  # fmt: skip
_RECORDED = {
    "inspection_id": "0192f0c1-2c3a-7def-8123-456789abcdef", "archived": True, "replayed": False,
}  # fmt: skip
_DETECT_EXAMPLE = {"decision": "NG", **_RECORDED, "results": [_RESULT_EXAMPLE]}
_BATCH_EXAMPLE = {
    "decision": "NG",
    "fail_safe": "NG",
    "counts": {"OK": 0, "NG": 1, "REVIEW": 0, "UNDECIDED": 1},
    "results": [
        {**_RESULT_EXAMPLE, **_RECORDED},
        {
            **_RECORDED,
            "inspection_id": "0192f0c1-2c4b-7a01-9c5d-0a1b2c3d4e5f",
            "part_id": "cell-00043",
            "category": "solar-poly",
            "decision": "UNDECIDED",
            "fail_safe": "NG",
            "error": {
                "type": PROBLEM_TYPES[UndecodableImage].uri,
                "title": PROBLEM_TYPES[UndecodableImage].title,
                "status": 422,
                "detail": PROBLEM_TYPES[UndecodableImage].example,
                "request_id": _REQUEST_ID,
                "error": PROBLEM_TYPES[UndecodableImage].example,
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
    raised = [
        error
        for error, kind in PROBLEM_TYPES.items()
        if kind.status == status and (errors is None or error in errors)
    ]
    kinds = [PROBLEM_TYPES[error] for error in raised]
    examples = {
        kind.slug: {
            "summary": kind.title,
            "value": {
                "type": kind.uri,
                "title": kind.title,
                "status": status,
                "detail": kind.example,
                "request_id": _REQUEST_ID,
                **undecided,
                "error": kind.example,
            },
        }
        for kind in kinds
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    response: dict[str, Any] = {
        "description": "; ".join(kind.title for kind in kinds),
        "content": {PROBLEM_JSON: {"schema": schema, "examples": examples}},
    }
    passes = any(issubclass(error, Unavailable | RateLimited) for error in raised)
    return {**response, "headers": {**headers, **(_RETRY_AFTER if passes else {})}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the problem responses of a route that does not inspect."""
    return {status: _problems(status, inspecting=False) for status in statuses}


def problems_of(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """Return the responses of a route that does not inspect, with these problems."""
    statuses = sorted({PROBLEM_TYPES[error].status for error in errors})
    return {status: _problems(status, errors, inspecting=False) for status in statuses}


DETECT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": _DECISION_HEADERS | _RECORD_HEADERS,
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
    InvalidInspectionId,
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
