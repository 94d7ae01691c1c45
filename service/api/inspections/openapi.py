"""OpenAPI of the routes of `/inspections`: examples, images and problems."""

from typing import Any

from service.api.openapi import problems_of
from service.errors import (
    AnswerTooLarge,
    ArchiveUnavailable,
    BodiesFull,
    BodyTooLarge,
    BodyTooSlow,
    DeadlineExceeded,
    Forbidden,
    InspectionIdReused,
    InvalidCursor,
    InvalidInspectionId,
    InvalidRequest,
    JournalUnavailable,
    KeysUnreadable,
    MalformedBody,
    MediaDamaged,
    MediaDeleted,
    MediaNotKept,
    NoArchive,
    NoSuchInspection,
    OnOtherNode,
    QueueFull,
    RateLimited,
    SearchTooBroad,
    Unauthenticated,
    UnsupportedCharset,
    UnsupportedEncoding,
    UnsupportedImage,
)

_VIEW: dict[str, Any] = {
    "view": 0,
    "filename": "cell.png",
    "width": 300,
    "height": 300,
    "image_bytes": 84213,
    "image": {
        "state": "kept",
        "sha256": "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
        "deleted_at": None,
    },
    "map": {
        "state": "deleted",
        "sha256": "a591a6d40bf420404a011733cfb7b190d62c65bf0bcda32b57b277d9ad9f146e",
        "deleted_at": "2026-12-29T03:00:12.004000Z",
    },
    "found": "NG",
    "score": 0.913,
    "raw_score": 0.402,
    "threshold": 0.287,
    "engine": "torch, float32",
    "problem": None,
}
_ROW: dict[str, Any] = {
    "inspection_id": "0192f0c1-2c3a-7def-8123-456789abcdef",
    "node": "line-3",
    "received_at": "2026-11-29T06:13:20.518000Z",
    "captured_at": "2026-11-29T06:13:20.431000Z",
    "origin": "line",
    "category": "solar-mono",
    "part_id": "cell-00042",
    "station": "EL-3",
    "job_id": "lot-17",
    "meta": {"exposure_ms": 40},
    "told": "NG",
    "source": "network",
    "told_reason": None,
    "fail_safe": None,
    "found": "NG",
    "score": 0.913,
    "raw_score": 0.402,
    "threshold": 0.287,
    "review_threshold": None,
    "model": {
        "name": "solar",
        "version": "3",
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "calibration_version": "1",
    },
    "request_id": "5f0c7c9e8d1b4c5a9b3f6e2d1a0c4b7e",
    "caller": "line-3",
    "problem": None,
    "problem_detail": None,
    "repeats": 1,
    "verdict": "defective",
    "is_held": False,
    "views": [_VIEW],
}
_ONE: dict[str, Any] = {
    **_ROW,
    "views": [
        {
            **_VIEW,
            "regions": [
                {
                    "x": 96, "y": 140, "width": 61, "height": 38, "area_px": 1604,
                    "peak": {"x": 121, "y": 158}, "peak_score": 0.957,
                }
            ],
            "timings_ms": {"decode": 2.1, "encoder": 21.7, "total": 80.6},
            "problem_detail": None,
        }
    ],
    "verdicts": [
        {
            "verdict": "defective",
            "defect_class": "crack",
            "comment": "from the upper busbar",
            "author": "Ada (quality)",
            "at": "2026-11-29T07:02:11.118000Z",
        }
    ],
    "holds": [],
}  # fmt: skip
_PAGE = {"inspections": [_ROW], "cursor": "AAZJ2xq0mHABkvDBLDp973"}
_COUNTS = [
    {"told": "NG", "verdict": "defective", "parts": 3},
    {"told": "OK", "verdict": None, "parts": 71},
]
_SUMMARY = {
    "since": "2026-11-29T06:00:00Z",
    "until": "2026-11-29T07:00:00Z",
    "by": "hour",
    "counts": _COUNTS,
    "steps": [{"at": "2026-11-29T06:00:00Z", "counts": _COUNTS}],
    "scores": [
        {"told": "NG", "bins": [0] * 45 + [3] + [0] * 4, "without_score": 0},
        {"told": "OK", "bins": [0, 12, 40, 19] + [0] * 46, "without_score": 0},
    ],
}
_PURGED = {"deleted": 498, "left": 2, "files": 611, "cursor": None, "preview": None}
_IMAGE_TYPES = (
    "image/png", "image/jpeg", "image/bmp", "image/tiff", "image/webp",
    "image/x-portable-anymap", "application/octet-stream",
)  # fmt: skip
_FILE_HEADERS = {
    "ETag": {"description": "for If-None-Match", "schema": {"type": "string"}},
    "Content-Disposition": {"description": "a file name", "schema": {"type": "string"}},
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}

_ALWAYS = (
    Unauthenticated, Forbidden, KeysUnreadable, InvalidRequest, NoArchive, ArchiveUnavailable,
)  # fmt: skip
_BODY = (MalformedBody, BodyTooLarge, BodyTooSlow, UnsupportedCharset)
_MEDIA = (
    NoSuchInspection, MediaNotKept, MediaDamaged, MediaDeleted, OnOtherNode, AnswerTooLarge,
    BodiesFull,
)  # fmt: skip

Responses = dict[int | str, dict[str, Any]]


def _example(value: object) -> Responses:
    return {200: {"content": {"application/json": {"example": value}}}}


def _files(description: str, *media_types: str) -> Responses:
    content = dict.fromkeys(media_types, _BINARY)
    return {
        200: {"description": description, "headers": _FILE_HEADERS, "content": content},
        304: {"description": "the client has it: If-None-Match is its ETag"},
    }


RECORD: Responses = {
    201: {"content": {"application/json": {"example": _ROW}}},
    **problems_of(
        *_ALWAYS, *_BODY, InvalidInspectionId, InspectionIdReused, BodiesFull, RateLimited,
        UnsupportedEncoding, UnsupportedImage, DeadlineExceeded, JournalUnavailable,
    ),
}  # fmt: skip
SEARCH = _example(_PAGE) | problems_of(*_ALWAYS, InvalidCursor, SearchTooBroad)
SUMMARY = _example(_SUMMARY) | problems_of(*_ALWAYS, SearchTooBroad)
ONE = _example(_ONE) | problems_of(*_ALWAYS, NoSuchInspection)
JUDGED = _example(_ONE) | problems_of(*_ALWAYS, *_BODY, NoSuchInspection, OnOtherNode)
IMAGE = _files("The posted file", *_IMAGE_TYPES) | problems_of(*_ALWAYS, *_MEDIA)
HEATMAP = _files("A PNG of the upright image's size", "image/png") | problems_of(
    *_ALWAYS, *_MEDIA, QueueFull
)
PURGED = _example(_PURGED) | problems_of(*_ALWAYS, *_BODY, InvalidCursor, JournalUnavailable)
