"""The JSON of the Open Inference Protocol (v2)."""

from typing import Annotated, Any, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
)

NESTED_PARAMETER = "meta"
_MAX_PARAMETERS = 100
_MAX_NAME = 1000


def _check_nested(parameters: dict[str, Any]) -> dict[str, Any]:
    nested = [name for name, value in parameters.items() if isinstance(value, dict)]
    if nested and nested != [NESTED_PARAMETER]:
        raise ValueError(
            f"parameters must be strings, numbers or booleans; only {NESTED_PARAMETER} may be an "
            "object"
        )
    return parameters


def _check_count(parameters: Any) -> Any:  # noqa: ANN401 - any JSON
    """Refuse too many parameters early: each wrong one would cause five errors."""
    if isinstance(parameters, dict) and len(parameters) > _MAX_PARAMETERS:
        raise ValueError(f"expected at most {_MAX_PARAMETERS} parameters, got {len(parameters)}")
    return parameters


_Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Parameter: TypeAlias = str | bool | _Integer | FiniteFloat | dict[str, JsonValue]
Parameters: TypeAlias = Annotated[
    dict[str, _Parameter], BeforeValidator(_check_count), AfterValidator(_check_nested)
]
"""Parameters that the answer can repeat: no NaN, and no number that JSON cannot represent."""

Dimension = Annotated[int, Field(strict=True)]


class _Asked(BaseModel):
    """A client's JSON; unknown members are ignored, as the protocol demands."""

    model_config = ConfigDict(frozen=True, strict=True)


class InputAsked(_Asked):
    """An input tensor: `data`, or `binary_data_size` bytes after the JSON."""

    name: str = Field(max_length=_MAX_NAME)
    datatype: str = Field(max_length=_MAX_NAME)
    shape: list[Dimension] = Field(max_length=32, fail_fast=True)
    parameters: Parameters = {}
    data: Any = None


class OutputAsked(_Asked):
    """A requested output tensor."""

    name: str = Field(max_length=_MAX_NAME)
    parameters: Parameters = {}


class InferAsked(_Asked):
    """An inference request."""

    id: str | None = Field(None, max_length=1000)
    parameters: Parameters = {}
    inputs: list[InputAsked] = Field(max_length=100, fail_fast=True)
    outputs: list[OutputAsked] | None = Field(None, max_length=100, fail_fast=True)


class IndexAsked(_Asked):
    """Which models to list."""

    ready: bool = False


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ServerMetadata(_Answer):
    """The server's name, version and supported extensions of the protocol."""

    name: str
    version: str
    extensions: list[str]


class LiveHealth(_Answer):
    """The process answers."""

    live: bool


class ReadyHealth(_Answer):
    """Images can be inspected."""

    live: bool
    ready: bool


class TensorMetadata(_Answer):
    """A tensor of a model; -1 stands for a dimension of any size."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None


class ModelMetadata(_Answer):
    """A category as a model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(_Answer):
    """A model that accepts images."""

    name: str
    ready: bool


class IndexEntry(_Answer):
    """A model in the index: READY, or UNAVAILABLE for a reason."""

    name: str
    version: str
    state: str
    reason: str


class OutputTensor(_Answer):
    """A tensor of an answer: `data`, or bytes after the JSON with their size in `parameters`."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None
    data: list[Any] | None = None


class InferAnswer(_Answer):
    """An inference response."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[OutputTensor]
