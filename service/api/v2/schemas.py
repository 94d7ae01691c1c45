"""The JSON of the Open Inference Protocol (v2), as it is read and written."""

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
        raise ValueError(f"parameters are strings, numbers or booleans, but for {NESTED_PARAMETER}")
    return parameters


def _check_count(parameters: Any) -> Any:  # noqa: ANN401 - anything may come
    """Refuse many parameters at once: each wrong one would be five errors."""
    if isinstance(parameters, dict) and len(parameters) > _MAX_PARAMETERS:
        raise ValueError(f"expected at most {_MAX_PARAMETERS} parameters, got {len(parameters)}")
    return parameters


_Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Parameter: TypeAlias = str | bool | _Integer | FiniteFloat | dict[str, JsonValue]
Parameters: TypeAlias = Annotated[
    dict[str, _Parameter], BeforeValidator(_check_count), AfterValidator(_check_nested)
]
"""What can be said back as it came: no number that is none, or that JSON cannot hold."""

Dimension = Annotated[int, Field(strict=True)]


class _Asked(BaseModel):
    """What a client says; members that nobody knows are left alone, as the protocol wants."""

    model_config = ConfigDict(frozen=True, strict=True)


class InputAsked(_Asked):
    """A tensor that comes as `data`, or as `binary_data_size` bytes behind the JSON."""

    name: str = Field(max_length=_MAX_NAME)
    datatype: str = Field(max_length=_MAX_NAME)
    shape: list[Dimension] = Field(max_length=32, fail_fast=True)
    parameters: Parameters = {}
    data: Any = None


class OutputAsked(_Asked):
    """A tensor to answer with."""

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
    """What serves, and which extensions of the protocol it knows."""

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
    """A model that images can be sent to."""

    name: str
    ready: bool


class IndexEntry(_Answer):
    """A model in the index: READY, or UNAVAILABLE for a reason."""

    name: str
    version: str
    state: str
    reason: str


class OutputTensor(_Answer):
    """A tensor of an answer: as `data`, or behind the JSON with its size in `parameters`."""

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
