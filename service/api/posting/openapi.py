"""OpenAPI of the inspecting requests: headers, and bodies with examples."""

from typing import Any

from pydantic import BaseModel

from service.api.posting.fields import Asked, AskedInText
from service.api.posting.uploads import BatchBody, DetectBody, RecordBody
from service.api.requests import PRIORITY_HEADER, TIMEOUT_HEADER
from service.http.inspection_ids import INSPECTION_ID_HEADER

_FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
_IMAGE_TYPES = ("image/png", "image/jpeg", "image/bmp", "image/tiff", "image/webp")
_IMAGE_TEXT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
_ID = "0192f0c1-2c3a-7def-8123-456789abcdef"
_ASKED_EXAMPLE = {
    "inspection_id": _ID, "captured_at": "2026-11-29T10:15:30.250+01:00",
    "category": "solar-mono", "part_id": "cell-00042", "station": "EL-3", "job_id": "lot-17",
    "meta": {"exposure_ms": 40}, "heatmap": "mask",
}  # fmt: skip


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:  # noqa: ANN401
    where = {"name": name, "in": "header", "required": False, "description": description}
    return {**where, "schema": {"type": "string", **schema}}


REQUEST_HEADERS = [
    _header(
        TIMEOUT_HEADER,
        "the request's time limit in milliseconds, from when its headers are complete; it can only "
        "shorten the service's limit",
        pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$",
        examples=["500"],
    ),
    _header(
        PRIORITY_HEADER, "as the field `priority`, which overrides it", enum=["high", "normal"]
    ),
    _header(
        "Idempotency-Key",
        "the client's key for this request: a repetition with the same key and body gets the same "
        "answer, with the header `Idempotency-Replayed: true`",
        pattern=r"^[\x21-\x7e]{1,255}$",
    ),
    _header(INSPECTION_ID_HEADER, "as the field `inspection_id`; for one part only", format="uuid"),
    _header("X-Request-ID", "an id for the log; returned in the answer", maxLength=128),
    _header("traceparent", "W3C Trace Context: the trace that this request is part of"),
]


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    """Return a JSON schema with its references replaced by their definitions."""
    if isinstance(schema, list):
        return [_inline(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        definition = definitions[schema["$ref"].rpartition("/")[2]]
        schema = {**definition, **{key: value for key, value in schema.items() if key != "$ref"}}
    return {key: _inline(value, definitions) for key, value in schema.items() if key != "$defs"}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    inlined: dict[str, Any] = _inline(schema, schema.get("$defs", {}))
    return inlined


def _query_parameters() -> list[dict[str, Any]]:
    """Describe the fields in a query, which the routes read by themselves."""
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": {key: value for key, value in schema.items() if key != "description"},
            "description": schema["description"],
        }
        for name, schema in _schema(AskedInText)["properties"].items()
    ]


def _body(
    description: str,
    json_body: type[BaseModel],
    example: dict[str, Any],
    *,
    needs_image: bool = True,
) -> dict[str, Any]:
    files: dict[str, Any] = {"type": "array", "items": _FILE, "description": "image files"}
    if needs_image:
        files["minItems"] = 1
    form: dict[str, Any] = {"file": files, **_schema(AskedInText)["properties"]}
    if issubclass(json_body, BatchBody):
        form["images"] = {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"type": "array", "items": _schema(Asked)},
            "description": "a JSON array with the fields of each file, in the order of the files",
        }
    return {
        "parameters": [*_query_parameters(), *REQUEST_HEADERS],
        "requestBody": {
            "required": needs_image,
            "description": description,
            "content": {
                "application/json": {"schema": _schema(json_body), "example": example},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": form,
                        **({"required": ["file"]} if needs_image else {}),
                    },
                    "encoding": {"file": {"contentType": ", ".join(_IMAGE_TYPES)}},
                },
                **{media_type: {"schema": _FILE} for media_type in _IMAGE_TYPES},
            },
        },
    }


DETECT_BODY = _body(
    "A form, JSON, or any other body as one image. Fields in the body override the query. The "
    "service detects an image's format by its content: JPEG, PNG, BMP, TIFF, WebP or PPM.",
    DetectBody,
    {**_ASKED_EXAMPLE, "images": [{"content": _IMAGE_TEXT, "filename": "cell.png"}]},
)

BATCH_BODY = _body(
    "JSON or a form with many images (or one image as the body). Fields of an image override those "
    "of the body, and those override the query.",
    BatchBody,
    {
        "heatmap": "none",
        "images": [
            {"content": _IMAGE_TEXT, "category": "solar-mono", "part_id": "cell-00042"},
            {"content": _IMAGE_TEXT, "category": "solar-poly", "part_id": "cell-00043"},
        ],
    },
)

RECORD_BODY = _body(
    "A form, JSON, or any other body as one image; without images, the part is recorded alone.",
    RecordBody,
    {
        "inspection_id": _ID,
        "category": "solar-mono",
        "part_id": "cell-00042",
        "captured_at": "2026-11-29T10:15:30.250+01:00",
        "told": "UNDECIDED",
        "told_reason": "no answer within 80 ms",
        "images": [{"content": _IMAGE_TEXT, "filename": "cell.png"}],
    },
    needs_image=False,
)
