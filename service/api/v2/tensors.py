"""The meaning of an inference request's tensors: images in, scores and decisions out.

`image` is the only input, of n images:

    BYTES  [n] or [n, 1]   image files, as in `POST /detect`
    UINT8  [n, H, W, 3]    RGB pixels
    FP32   [n, H, W, 3]    RGB pixels from 0 to 1, rounded to 8 bits as in the training

With the parameter `layout` set to "NCHW", on the input or the request, pixels are [n, 3, H, W].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32, Num, UInt8
from PIL import Image

from model.images.framing import resampled
from model.inspection import ImageSize
from service.api.v2.codec import Output, Tensor
from service.api.v2.schemas import OutputAsked, Parameters, TensorMetadata
from service.errors import BodyTooLarge, InvalidTensor
from service.inspection.images.sources import Upload
from service.workers.pipe.messages import Finding

INPUT = "image"
ANOMALY_MAP = "anomaly_map"
_LAYOUTS = ("NHWC", "NCHW")


@dataclass(frozen=True, slots=True)
class _Column:
    """An output with one element per image."""

    datatype: str
    value: Callable[[Finding], object]


_COLUMNS = {
    "score": _Column("FP32", lambda finding: finding.score),
    # In 64 bits, so that comparing the two agrees with the decision.
    "raw_score": _Column("FP64", lambda finding: finding.raw_score),
    "threshold": _Column("FP64", lambda finding: finding.threshold),
    "decision": _Column("BYTES", lambda finding: finding.decision),
}


@dataclass(frozen=True, slots=True)
class OutputChoice:
    """A requested output, and whether it comes as bytes after the JSON."""

    name: str
    binary: bool


def input_metadata() -> list[TensorMetadata]:
    """Describe the input; the protocol has room for only one datatype."""
    also = "UINT8 or FP32 (0 to 1) pixels [n, H, W, 3]; [n, 3, H, W] with layout=NCHW"
    return [
        TensorMetadata(name=INPUT, datatype="BYTES", shape=[-1], parameters={"also_taken": also})
    ]


def output_metadata(size: ImageSize) -> list[TensorMetadata]:
    """Describe the outputs; `size` is that of the network's input."""
    columns = [
        TensorMetadata(name=name, datatype=column.datatype, shape=[-1])
        for name, column in _COLUMNS.items()
    ]
    anomaly_map = TensorMetadata(
        name=ANOMALY_MAP, datatype="FP32", shape=[-1, size.height, size.width]
    )
    return [*columns, anomaly_map]


def read_images(
    tensors: Sequence[Tensor], parameters: Parameters, max_images: int
) -> list[Upload | Image.Image]:
    """Return the images of a request. Raises `InvalidTensor` or `BodyTooLarge`."""
    if len(tensors) != 1 or tensors[0].name != INPUT:
        got = ", ".join(repr(tensor.name[:50]) for tensor in tensors[:5]) or "none"
        raise InvalidTensor(f"expected one input, {INPUT!r}; got {got}")
    (tensor,) = tensors
    if tensor.shape[0] > max_images:
        raise BodyTooLarge(f"a request may have {max_images} images, got {tensor.shape[0]}")
    if tensor.datatype == "BYTES":
        return _files(tensor)
    if tensor.datatype not in {"UINT8", "FP32"}:
        raise InvalidTensor(f"{INPUT!r} must be BYTES, UINT8 or FP32; got {tensor.datatype}")
    pixels = _pixels(tensor, _layout(tensor, parameters))
    _check_range(pixels)
    # One image at a time: its conversion to 8 bits takes several times its memory.
    return [Image.fromarray(np.ascontiguousarray(_eight_bits(image))) for image in pixels]


def choose_outputs(
    requested: Sequence[OutputAsked] | None, parameters: Parameters
) -> list[OutputChoice]:
    """Return the requested outputs, by default all but the map. Raises `InvalidTensor`."""
    binary = _flag(parameters, "binary_data_output", default=False)
    if not requested:
        return [OutputChoice(name, binary) for name in _COLUMNS]
    chosen: dict[str, OutputChoice] = {}
    for output in requested:
        have = (*_COLUMNS, ANOMALY_MAP)
        if output.name not in have or output.name in chosen:
            raise InvalidTensor(
                f"output {output.name[:50]!r} is unknown or requested twice; have: "
                f"{', '.join(have)}"
            )
        for name in ("shared_memory_region", "classification"):
            if name in output.parameters:
                raise InvalidTensor(f"the parameter {name} of an output is not supported: omit it")
        wanted = _flag(output.parameters, "binary_data", default=binary)
        chosen[output.name] = OutputChoice(output.name, wanted)
    return list(chosen.values())


def write_outputs(
    choices: Sequence[OutputChoice],
    findings: Sequence[Finding],
    size: ImageSize | None,
) -> list[Output]:
    """Return the chosen outputs of all images.

    The map needs `pixel_scores`, and the `size` of the network's input, to which it is resampled.
    """
    outputs = []
    for choice in choices:
        if choice.name == ANOMALY_MAP:
            assert size is not None
            maps = np.stack([_map_of(finding, size) for finding in findings])
            outputs.append(Output(ANOMALY_MAP, "FP32", maps, choice.binary))
            continue
        column = _COLUMNS[choice.name]
        values = [column.value(finding) for finding in findings]
        if column.datatype == "BYTES":
            texts = [str(value) for value in values]
            outputs.append(Output(choice.name, column.datatype, texts, choice.binary))
        else:
            numbers = np.array(values, np.float64 if column.datatype == "FP64" else np.float32)
            outputs.append(Output(choice.name, column.datatype, numbers, choice.binary))
    return outputs


def _map_of(finding: Finding, size: ImageSize) -> Float32[np.ndarray, "h w"]:
    assert finding.pixel_scores is not None
    return resampled(finding.pixel_scores, (size.height, size.width))


def _files(tensor: Tensor) -> list[Upload | Image.Image]:
    if tensor.shape[1:] not in {(), (1,)}:
        raise InvalidTensor(f"BYTES must have shape [n] or [n, 1], got {list(tensor.shape)}")
    return [Upload(None, bytes(content)) for content in tensor.values]


def _layout(tensor: Tensor, parameters: Parameters) -> str:
    layout = tensor.parameters.get("layout", parameters.get("layout", _LAYOUTS[0]))
    if layout not in _LAYOUTS:
        raise InvalidTensor(
            f"layout must be one of {', '.join(_LAYOUTS)}; got {str(layout)[:50]!r}"
        )
    return str(layout)


def _pixels(tensor: Tensor, layout: str) -> Num[np.ndarray, "n h w 3"]:
    shape = tensor.shape
    channels = 1 if layout == "NCHW" else 3
    if len(shape) != 4 or shape[channels] != 3:
        expected = "[n, 3, H, W]" if layout == "NCHW" else "[n, H, W, 3]"
        raise InvalidTensor(
            f"pixels in layout {layout} must have shape {expected}, got {list(shape)}"
        )
    assert isinstance(tensor.values, np.ndarray)
    pixels = tensor.values.reshape(shape)
    if layout == "NCHW":
        pixels = pixels.transpose(0, 2, 3, 1)
    return pixels


def _check_range(pixels: npt.NDArray[np.generic]) -> None:
    """Refuse FP32 pixels outside 0 to 1: guessing another range would silently change scores.

    The condition also refuses NaN, for which every comparison is false.
    """
    if pixels.dtype == np.uint8:
        return
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):
        raise InvalidTensor(
            f"FP32 pixels must be 0 to 1, got {low:g} to {high:g}: divide by 255, or send UINT8"
        )


def _eight_bits(pixels: npt.NDArray[np.generic]) -> UInt8[np.ndarray, "h w 3"]:
    """Return pixels of 0 to 255."""
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    values = pixels.astype(np.float32, copy=False)
    eight_bits: npt.NDArray[np.uint8] = np.rint(values * np.float32(255)).astype(np.uint8)
    return eight_bits


def _flag(parameters: Parameters, name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidTensor(f"the parameter {name} must be true or false, got {str(value)[:50]!r}")
    return value
