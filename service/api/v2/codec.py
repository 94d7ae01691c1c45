"""The wire format of the Open Inference Protocol (v2): JSON, followed by tensors as bytes.

A tensor is either `data` in the JSON, nested or flat, or bytes after the JSON: little-endian,
row-major; a BYTES element is its length in 4 bytes and its content. `tensors` gives them meaning.
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
"""The supported datatypes of numbers, in the byte order of the wire."""

MAX_JSON_VALUES = 1_000_000
_BOUNDS = JsonBounds(
    max_bytes=24 * 2**20,  # a 32-bit number takes about 20 bytes
    max_values=MAX_JSON_VALUES,
    max_members=10_000,
    instead="send large tensors as binary data",
)
_MAX_FAULTS = 5
_MAX_DIMENSION = 2**63 - 1
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """An input tensor; `values` is flat: BYTES elements, or numbers of the datatype."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Parameters
    values: tuple[bytes, ...] | npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """An output tensor, and whether it comes as bytes after the JSON."""

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
    """The maximum number and size of BYTES elements, which are images."""

    max_elements: int
    max_element_bytes: int


_NO_LIMITS = TensorLimits(MAX_JSON_VALUES, 2**32)


def read_request(
    body: bytes, header_length: str | None, limits: TensorLimits = _NO_LIMITS
) -> tuple[InferAsked, list[Tensor]]:
    """Read an inference request; `header_length` is the header `HEADER_LENGTH`, if present.

    Raises `MalformedBody`, `BodyTooLarge` or `InvalidTensor`.
    """
    size = len(body) if header_length is None else _header_length(header_length, len(body))
    document = read_json(body[:size], _BOUNDS, allow_inf_nan=False)
    request = _as_schema(document, InferAsked)
    tensors = list(_tensors(request.inputs, document, memoryview(body)[size:], limits))
    document.close()
    return request, tensors


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
        raise MalformedBody(f"not a valid request of the protocol: {text}") from error


def write_answer(answer: InferAnswer, outputs: Sequence[Output]) -> tuple[bytes, int | None]:
    """Return the body, and the value of `HEADER_LENGTH` if tensors follow the JSON."""
    tail = [_to_bytes(output) for output in outputs if output.binary]
    described = [_described(output) for output in outputs]
    document = answer.model_copy(update={"outputs": described}).model_dump(exclude_none=True)
    head = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
    return b"".join([head, *tail]), len(head) if tail else None


def _header_length(value: str, body_length: int) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= 20):
        raise MalformedBody(f"{HEADER_LENGTH} must be a number of bytes, got {value[:50]!r}")
    if int(value) > body_length:
        raise MalformedBody(f"{HEADER_LENGTH} is {value}, but the body has {body_length} bytes")
    return int(value)


def _tensors(
    inputs: Sequence[InputAsked], document: Document, tail: memoryview, limits: TensorLimits
) -> Iterator[Tensor]:
    offset = 0
    for tensor in inputs:
        count = _elements(tensor)
        size = _binary_size(tensor)
        if size is None:
            values = _from_json(tensor, count, document, limits)
        else:
            if size > len(tail) - offset:
                raise InvalidTensor(
                    f"input {tensor.name[:50]!r} has binary_data_size {size}, but only "
                    f"{len(tail) - offset} bytes are left after the JSON"
                )
            values = _from_bytes(tensor, tail[offset : offset + size], count, limits)
            offset += size
        yield Tensor(tensor.name, tensor.datatype, tuple(tensor.shape), tensor.parameters, values)
    if offset != len(tail):
        raise InvalidTensor(
            f"{len(tail) - offset} bytes after the JSON belong to no input: expected the sum of "
            f"the inputs' binary_data_size, {offset}"
        )


def _elements(tensor: InputAsked) -> int:
    """Return the number of the shape's elements; Python's integers do not overflow."""
    if tensor.datatype != "BYTES" and tensor.datatype not in DTYPES:
        datatypes = ", ".join(["BYTES", *DTYPES])
        raise InvalidTensor(
            f"input {tensor.name[:50]!r} has datatype {tensor.datatype[:50]!r}; expected one of "
            f"{datatypes}"
        )
    if not tensor.shape or not all(1 <= size <= _MAX_DIMENSION for size in tensor.shape):
        raise InvalidTensor(
            f"input {tensor.name[:50]!r} has shape {tensor.shape[:8]}: expected dimensions of 1 or "
            "more"
        )
    return math.prod(tensor.shape)


def _binary_size(tensor: InputAsked) -> int | None:
    if "shared_memory_region" in tensor.parameters:
        raise InvalidTensor("shared memory is not supported: send tensors in the body")
    size = tensor.parameters.get("binary_data_size")
    if (size is None) == (tensor.data is None):
        raise InvalidTensor(
            f"input {tensor.name[:50]!r} needs either data or the parameter binary_data_size"
        )
    if size is not None and (type(size) is not int or size < 0):
        raise InvalidTensor(f"binary_data_size must be a number of bytes, got {str(size)[:50]}")
    return size


def _from_bytes(
    tensor: InputAsked, content: memoryview, count: int, limits: TensorLimits
) -> tuple[bytes, ...] | npt.NDArray[Any]:
    if tensor.datatype == "BYTES":
        if _LENGTH.size * count > len(content):
            raise InvalidTensor(
                f"BYTES of shape {tensor.shape} needs {count} elements, each after its length in 4 "
                f"bytes: {len(content)} bytes are too few"
            )
        _check_images(count, limits)
        return tuple(_byte_elements(tensor, content, count))
    dtype = DTYPES[tensor.datatype]
    if len(content) != count * dtype.itemsize:
        raise InvalidTensor(
            f"{tensor.datatype} of shape {tensor.shape} needs {count * dtype.itemsize} bytes, got "
            f"{len(content)}"
        )
    return np.frombuffer(content, dtype)


def _check_images(count: int, limits: TensorLimits) -> None:
    """Raise `BodyTooLarge` for too many elements before any is read."""
    if count > limits.max_elements:
        raise BodyTooLarge(f"a request may have {limits.max_elements} images, got {count}")


def _byte_elements(tensor: InputAsked, content: memoryview, count: int) -> Iterator[bytes]:
    index = offset = 0
    while offset < len(content) and index < count:
        if len(content) - offset < _LENGTH.size:
            break
        (length,) = _LENGTH.unpack_from(content, offset)
        offset += _LENGTH.size
        if length > len(content) - offset:
            raise InvalidTensor(
                f"element {index} of input {tensor.name[:50]!r} has length {length}, but only "
                f"{len(content) - offset} bytes are left"
            )
        yield bytes(content[offset : offset + length])
        offset += length
        index += 1
    if index != count or offset != len(content):
        raise InvalidTensor(
            f"BYTES of shape {tensor.shape} needs {count} elements, each after its length in 4 "
            f"bytes: got {index} and {len(content) - offset} more bytes"
        )


def _from_json(
    tensor: InputAsked, count: int, document: Document, limits: TensorLimits
) -> tuple[bytes, ...] | npt.NDArray[Any]:
    if not isinstance(tensor.data, list):
        raise InvalidTensor(f"the data of input {tensor.name[:50]!r} must be an array")
    # As objects: a text array of numpy would reserve the longest text's length for every element.
    array = np.array(tensor.data, object)
    if array.shape not in {(count,), tuple(tensor.shape)}:
        raise InvalidTensor(
            f"the data of input {tensor.name[:50]!r} has shape {list(array.shape)}; expected "
            f"{tensor.shape}, or flat [{count}]"
        )
    if tensor.datatype == "BYTES":
        _check_images(count, limits)
        return tuple(
            _from_base64(value, document, limits.max_element_bytes)
            for value in array.ravel().tolist()
        )
    return _cast(array.ravel().tolist(), tensor.datatype)


def _cast(numbers: list[Any], datatype: str) -> npt.NDArray[Any]:
    """Return JSON's numbers as an array of the datatype."""
    kinds = {int} if datatype == "UINT8" else {int, float}
    if not set(map(type, numbers)) <= kinds:
        raise InvalidTensor(f"{datatype} accepts only {'whole ' * (len(kinds) == 1)}numbers")
    if datatype == "UINT8" and not (min(numbers) >= 0 and max(numbers) <= 255):
        raise InvalidTensor("UINT8 accepts only 0 to 255, but the JSON has other numbers")
    try:
        with np.errstate(over="ignore"):  # too large numbers become infinite
            return np.array(numbers, np.float64).astype(DTYPES[datatype])
    except OverflowError as error:
        raise InvalidTensor(f"{datatype} cannot represent a number of the JSON") from error


def _from_base64(value: object, document: Document, max_bytes: int) -> bytes:
    if not isinstance(value, str):
        raise InvalidTensor("BYTES in JSON must be strings of base64; got another type")
    text: Text = document.long_text(value, max_bytes * 4 // 3 + 4)
    if len(text) // 4 * 3 - 2 > max_bytes:  # decoding holds Python's lock
        raise BodyTooLarge(f"an image may have {max_bytes} bytes, got {len(text) // 4 * 3}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        prefix = data_url(text)
        fault = f"send only the text after {prefix!r}" if prefix else str(error)
        raise InvalidTensor(f"BYTES in JSON must be strings of base64: {fault}") from error


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
    return b"".join(
        piece for element in elements for piece in (_LENGTH.pack(len(element)), element)
    )
