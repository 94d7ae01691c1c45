"""The engine that computes with onnxruntime: one ONNX file, from pixels to raw maps."""

import numpy as np
import onnxruntime as ort
from jaxtyping import Float32, UInt8

from model.errors import BackendUnavailable, CheckpointError, DeviceLost, OutOfMemory
from model.inference.engine import Lap

IMAGE, CATEGORY = "image", "category"
"""The inputs."""
MAP, RESIDUALS = "raw_map", "residuals"
"""The outputs of which a file has one; whatever else it answers is left to others."""

_ERRORS_ONLY = 3
_OUT_OF_MEMORY = ("Failed to allocate memory", "bad_alloc", "out of memory", "OUT_OF_MEMORY")
_LOST = ("CUDA failure 700", "CUDA failure 719", "unspecified launch failure", "illegal memory")


class OnnxEngine:
    """An ONNX file in memory, computed on `device` by so many `threads`.

    `data` is the file's content and `size` the (height, width) that it takes. Raises
    `CheckpointError` for what is no such file, `BackendUnavailable` for a device that is not there.
    """

    def __init__(
        self, data: bytes, size: tuple[int, int], device: str = "cpu", threads: int = 1
    ) -> None:
        self.device = device
        self.nbytes = len(data)
        self._session = _open(data, device, threads)
        self._asks_category, self._output = _check(self._session, size)
        self._lost = False

    def compare(
        self, images: UInt8[np.ndarray, "B 3 H W"], lap: Lap
    ) -> Float32[np.ndarray, "B *what"]:
        """Return how far each image is rebuilt; the one lap is network."""
        feeds = {IMAGE: np.ascontiguousarray(images)}
        if self._asks_category:  # what is used is the same in every category
            feeds[CATEGORY] = np.zeros(len(images), np.int64)
        try:
            (found,) = self._session.run([self._output], feeds)
        except Exception as error:
            raise self._own(error) from error
        compared = np.require(found, np.float32, ["C", "W"])
        lap("network")
        return compared

    def answers(self) -> bool:
        """Say whether the device still answers: what it said last tells."""
        return not self._lost

    def release(self) -> None:
        """Give back nothing: onnxruntime keeps its arena for as long as the session."""

    def _own(self, error: Exception) -> Exception:
        """Return what to raise for an error of onnxruntime's, whose classes tell little."""
        said = str(error)
        if any(words in said for words in _OUT_OF_MEMORY):
            return OutOfMemory("onnxruntime found no memory for it on the device")
        if self.device != "cpu" and any(words in said for words in _LOST):
            self._lost = True
            return DeviceLost(said)
        return error


def _open(data: bytes, device: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Threads that spin between operators take the cores from those that decode the next images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    wanted = _providers(device)
    try:
        session = ort.InferenceSession(data, options, providers=wanted)
    except Exception as error:
        raise CheckpointError(f"onnxruntime cannot use the ONNX file: {error}") from error
    if device != "cpu" and "CUDAExecutionProvider" not in session.get_providers():
        raise BackendUnavailable(f"cannot use {device}: onnxruntime could not start CUDA on it")
    return session


def _providers(device: str) -> list[str | tuple[str, dict[str, int]]]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    have = ort.get_available_providers()
    if "CUDAExecutionProvider" not in have:
        raise BackendUnavailable(
            f"cannot use {device}: this onnxruntime {ort.__version__} computes on the CPU alone; "
            "pip install onnxruntime-gpu in its place"
        )
    number = int(device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]


def _check(session: ort.InferenceSession, size: tuple[int, int]) -> tuple[bool, str]:
    """Raise `CheckpointError` unless inputs and output are ours.

    Say whether it asks for a category, and which output to take.
    """
    inputs = {one.name: one for one in session.get_inputs()}
    outputs = {one.name: one for one in session.get_outputs()}
    output = RESIDUALS if RESIDUALS in outputs else MAP
    image, found = inputs.pop(IMAGE, None), outputs.get(output)
    asks_category = inputs.pop(CATEGORY, None) is not None
    fits = (
        not inputs
        and image is not None
        and found is not None
        and (image.type, found.type) == ("tensor(uint8)", "tensor(float)")
        and list(image.shape[1:]) == [3, *size]
        and (len(found.shape) == 2 if output == RESIDUALS else list(found.shape[1:]) == list(size))
        and not isinstance(image.shape[0], int)
    )
    if not fits:
        described = [(one.name, one.type, one.shape) for one in session.get_inputs()]
        raise CheckpointError(
            f"the ONNX file is none of `mambaad export`: expected {IMAGE} uint8 (batch, 3, "
            f"{size[0]}, {size[1]}), {CATEGORY} and an output {MAP} or flat {RESIDUALS}; "
            f"got {described} and {sorted(outputs)}"
        )
    return asks_category, output
