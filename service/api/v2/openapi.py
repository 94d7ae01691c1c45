"""OpenAPI that FastAPI cannot derive from the routes: bodies and problems."""

from typing import Any

from service.api.openapi import DETECT_RESPONSES

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: response for status, response in DETECT_RESPONSES.items() if status != 200
}
NOT_READY: dict[int | str, dict[str, Any]] = {503: PROBLEMS[503]}
NO_ENTRY: dict[int | str, dict[str, Any]] = {
    status: PROBLEMS[status] for status in (401, 403, 422, 429)
}
NO_MODEL: dict[int | str, dict[str, Any]] = {
    status: PROBLEMS[status] for status in (401, 403, 404, 422, 429, 503)
}

_PARAMETERS = {"type": "object", "additionalProperties": True}
INFER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "JSON, or JSON followed by tensors as bytes; then Inference-Header-"
        "Content-Length is the length of the JSON. Content-Encoding may be gzip or deflate. The "
        "Content-Type is ignored.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "parameters": _PARAMETERS,
                        "inputs": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["name", "datatype", "shape"],
                                "properties": {
                                    "name": {"const": "image"},
                                    "datatype": {"enum": ["BYTES", "UINT8", "FP32"]},
                                    "shape": {
                                        "type": "array",
                                        "items": {"type": "integer", "minimum": 1},
                                    },
                                    "parameters": _PARAMETERS,
                                    "data": {"type": "array"},
                                },
                            },
                        },
                        "outputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {
                                    "name": {"type": "string"},
                                    "parameters": _PARAMETERS,
                                },
                            },
                        },
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
INDEX_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": {"ready": {"type": "boolean"}}}
            }
        },
    }
}
