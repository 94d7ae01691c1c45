"""The wire format of the Open Inference Protocol (v2): JSON, and tensors as bytes behind it.

A tensor is either `data` in the JSON, nested or flat, or so many bytes of the body behind the
JSON: little-endian, row-major; a BYTES element is its length in 4 bytes and its content. Nothing
here knows what the tensors mean; see `v2_tensors`.
"""

import base64
import binascii
import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from service.api.documents import Document, JsonBounds, Text, faults_of, read_json
from service.api.v2.schemas import InferAnswer, InferAsked, InputAsked, OutputTensor, Parameters
from service.errors import BodyTooLarge, InvalidTensor, MalformedBody
from service.inspection.images.sources import data_url

M = TypeVar("M", bound=BaseModel)

HEADER_LENGTH = "Inference-Header-Content-Length"
DTYPES: dict[str, np.dtype[Any]] = {
    "UINT8": np.dtype("u1"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Datatypes of numbers that are read or written, in the byte order of the wire."""

MAX_JSON_VALUES = 1_000_000
_BOUNDS = JsonBounds(
    max_bytes=24 * 2**20,  # a number of 32 bits is written in about 20 bytes
    max_values=MAX_JSON_VALUES,
    max_members=10_000,
    instead="send large tensors as binary data",
)
_MAX_FAULTS = 5
_MAX_DIMENSION = 2**63 - 1
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """An input; `values` is flat: the elements of BYTES, or numbers of the datatype."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Parameters
    values: tuple[bytes, ...] | npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """A tensor to answer with, and whether behind the JSON or in it."""

    name: str
    datatype: str
    values: Sequence[str] | npt.NDArray[Any]
    binary: bool

    @property
    def shape(self) -> list[int]:
        """The tensor's shape; BYTES have one dimension."""
        return [len(self.values)] if self.datatype == "BYTES" else list(np.shape(self.values))


@dataclass(frozen=True, slots=True)
class TensorLimits:
    """How many elements BYTES may have, which are images, and how large each may be."""

    max_elements: int
    max_element_bytes: int


_NO_LIMITS = TensorLimits(MAX_JSON_VALUES, 2**32)


def read_request(
    body: bytes, header_length: str | None, limits: TensorLimits = _NO_LIMITS
) -> tuple[InferAsked, list[Tensor]]:
    """Read an inference request; `header_length` is the value of `HEADER_LENGTH`, if it was sent.

    Raises `MalformedBody`, `BodyTooLarge` or
    `InvalidTensor`.
    """
    size = len(body) if header_length is None else _header_length(header_length, len(body))
    document = read_json(body[:size], _BOUNDS, allow_inf_nan=False)
    asked = _as_schema(document, InferAsked)
    tensors = list(_tensors(asked.inputs, document, memoryview(body)[size:], limits))
    document.close()
    return asked, tensors


def read_object(body: bytes, schema: type[M]) -> M:
    """Read a JSON object. Raises `MalformedBody`, or `BodyTooLarge` for too many values."""
    document = read_json(body, _BOUNDS, allow_inf_nan=False)
    document.close()
    return _as_schema(document, schema)


def _as_schema(document: Document, schema: type[M]) -> M:
    try:
        return schema.model_validate(document.value)
    except ValidationError as error:
        faults = faults_of(error)[:_MAX_FAULTS]
        text = "; ".join(f"{'.'.join(map(str, f['loc'])) or 'body'}: {f['msg']}" for f in faults)
        raise MalformedBody(f"not a request of the protocol: {text}") from error


def write_answer(answer: InferAnswer, outputs: Sequence[Output]) -> tuple[bytes, int | None]:
    """Return the body, and the value for `HEADER_LENGTH` where tensors lie behind the JSON."""
    tail = [_to_bytes(output) for output in outputs if output.binary]
    described = [_described(output) for output in outputs]
    document = answer.model_copy(update={"outputs": described}).model_dump(exclude_none=True)
    head = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    return b"".join([head, *tail]), len(head) if tail else None


def _header_length(value: str, body_length: int) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= 20):
        raise MalformedBody(f"{HEADER_LENGTH} must be a number of bytes, got {value[:50]!r}")
    if int(value) > body_length:
        raise MalformedBody(f"{HEADER_LENGTH} is {value}, and the body has {body_length} bytes")
    return int(value)


def _tensors(
    inputs: Sequence[InputAsked], document: Document, tail: memoryview, limits: TensorLimits
) -> Iterator[Tensor]:
    offset = 0
    for asked in inputs:
        count = _elements(asked)
        size = _binary_size(asked)
        if size is None:
            values = _from_json(asked, count, document, limits)
        else:
            if size > len(tail) - offset:
                raise InvalidTensor(
                    f"input {asked.name[:50]!r} has binary_data_size {size}, and "
                    f"{len(tail) - offset} bytes are left behind the JSON"
                )
            values = _from_bytes(asked, tail[offset : offset + size], count, limits)
            offset += size
        yield Tensor(asked.name, asked.datatype, tuple(asked.shape), asked.parameters, values)
    if offset != len(tail):
        raise InvalidTensor(
            f"{len(tail) - offset} bytes behind the JSON belong to no input: expected the sum of "
            f"the inputs' binary_data_size, {offset}"
        )


def _elements(asked: InputAsked) -> int:
    """Return how many elements the shape has; Python's integers do not overflow."""
    if asked.datatype != "BYTES" and asked.datatype not in DTYPES:
        known = ", ".join(["BYTES", *DTYPES])
        raise InvalidTensor(
            f"input {asked.name[:50]!r} has datatype {asked.datatype[:50]!r}; expected one of "
            f"{known}"
        )
    if not asked.shape or not all(1 <= size <= _MAX_DIMENSION for size in asked.shape):
        raise InvalidTensor(
            f"input {asked.name[:50]!r} has shape {asked.shape[:8]}: expected dimensions of 1 or "
            "more"
        )
    return math.prod(asked.shape)


def _binary_size(asked: InputAsked) -> int | None:
    if "shared_memory_region" in asked.parameters:
        raise InvalidTensor("shared memory is not offered: send tensors in the body")
    size = asked.parameters.get("binary_data_size")
    if (size is None) == (asked.data is None):
        raise InvalidTensor(
            f"input {asked.name[:50]!r} needs either data or the parameter binary_data_size"
        )
    if size is not None and (type(size) is not int or size < 0):
        raise InvalidTensor(f"binary_data_size must be a number of bytes, got {str(size)[:50]}")
    return size


def _from_bytes(
    asked: InputAsked, content: memoryview, count: int, limits: TensorLimits
) -> tuple[bytes, ...] | npt.NDArray[Any]:
    if asked.datatype == "BYTES":
        if _LENGTH.size * count > len(content):
            raise InvalidTensor(
                f"BYTES of shape {asked.shape} takes {count} elements, each behind its length in 4 "
                f"bytes: {len(content)} bytes are too few"
            )
        _check_images(count, limits)
        return tuple(_byte_elements(asked, content, count))
    dtype = DTYPES[asked.datatype]
    if len(content) != count * dtype.itemsize:
        raise InvalidTensor(
            f"{asked.datatype} of shape {asked.shape} takes {count * dtype.itemsize} bytes, got "
            f"{len(content)}"
        )
    return np.frombuffer(content, dtype)


def _check_images(count: int, limits: TensorLimits) -> None:
    """Raise `BodyTooLarge` for more elements than images are taken, before any is read."""
    if count > limits.max_elements:
        raise BodyTooLarge(f"a request may have {limits.max_elements} images, got {count}")


def _byte_elements(asked: InputAsked, content: memoryview, count: int) -> Iterator[bytes]:
    found = offset = 0
    while offset < len(content) and found < count:
        if len(content) - offset < _LENGTH.size:
            break
        (length,) = _LENGTH.unpack_from(content, offset)
        offset += _LENGTH.size
        if length > len(content) - offset:
            raise InvalidTensor(
                f"element {found} of input {asked.name[:50]!r} says it has {length} bytes, and "
                f"{len(content) - offset} are left"
            )
        yield bytes(content[offset : offset + length])
        offset += length
        found += 1
    if found != count or offset != len(content):
        raise InvalidTensor(
            f"BYTES of shape {asked.shape} takes {count} elements, each behind its length in 4 "
            f"bytes: got {found} and {len(content) - offset} bytes more"
        )


def _from_json(
    asked: InputAsked, count: int, document: Document, limits: TensorLimits
) -> tuple[bytes, ...] | npt.NDArray[Any]:
    if not isinstance(asked.data, list):
        raise InvalidTensor(f"the data of input {asked.name[:50]!r} must be an array")
    # As objects: numpy would make room for the longest text in every place of a text array.
    array = np.array(asked.data, object)
    if array.shape not in {(count,), tuple(asked.shape)}:
        raise InvalidTensor(
            f"the data of input {asked.name[:50]!r} has shape {list(array.shape)}; expected "
            f"{asked.shape}, or flat [{count}]"
        )
    if asked.datatype == "BYTES":
        _check_images(count, limits)
        return tuple(
            _from_base64(value, document, limits.max_element_bytes)
            for value in array.ravel().tolist()
        )
    return _cast(array.ravel().tolist(), asked.datatype)


def _cast(numbers: list[Any], datatype: str) -> npt.NDArray[Any]:
    """Return JSON's numbers in a datatype that holds each of them."""
    kinds = {int} if datatype == "UINT8" else {int, float}
    if not set(map(type, numbers)) <= kinds:
        raise InvalidTensor(f"{datatype} takes {'whole ' * (len(kinds) == 1)}numbers alone")
    if datatype == "UINT8" and not (min(numbers) >= 0 and max(numbers) <= 255):
        raise InvalidTensor("UINT8 takes 0 to 255, and the JSON has other numbers")
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite
            return np.array(numbers, np.float64).astype(DTYPES[datatype])
    except OverflowError as error:
        raise InvalidTensor(f"{datatype} cannot hold a number of the JSON") from error


def _from_base64(value: object, document: Document, max_bytes: int) -> bytes:
    if not isinstance(value, str):
        raise InvalidTensor("BYTES in JSON are strings of base64; got something else")
    text: Text = document.long_text(value, max_bytes * 4 // 3 + 4)
    if len(text) // 4 * 3 - 2 > max_bytes:  # decoding holds Python's lock all the while
        raise BodyTooLarge(f"an image may have {max_bytes} bytes, got {len(text) // 4 * 3}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        prefix = data_url(text)
        fault = f"send what follows {prefix!r} alone" if prefix else str(error)
        raise InvalidTensor(f"BYTES in JSON are strings of base64: {fault}") from error


def _described(output: Output) -> OutputTensor:
    tensor = OutputTensor(name=output.name, datatype=output.datatype, shape=output.shape)
    if output.binary:
        size = len(_to_bytes(output))
        return tensor.model_copy(update={"parameters": {"binary_data_size": size}})
    values = output.values
    data = values.ravel().tolist() if isinstance(values, np.ndarray) else list(values)
    return tensor.model_copy(update={"data": data})


def _to_bytes(output: Output) -> bytes:
    if isinstance(output.values, np.ndarray):
        return output.values.astype(DTYPES[output.datatype], copy=False).tobytes()
    elements = [value.encode() for value in output.values]
    return b"".join(part for one in elements for part in (_LENGTH.pack(len(one)), one))
