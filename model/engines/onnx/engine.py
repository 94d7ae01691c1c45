"""The engine that computes with onnxruntime: one ONNX file, from pixels to raw maps."""

import numpy as np
import onnxruntime as ort
from jaxtyping import Float32, UInt8

from model.errors import BackendUnavailable, CheckpointError, DeviceLost, OutOfMemory
from model.inference.engine import Lap

IMAGE, CATEGORY = "image", "category"
"""The inputs."""
MAP, RESIDUALS = "raw_map", "residuals"
"""The outputs; a file has one of them. Most of its other outputs are not used here."""
PATCHES = "patches"
"""The output that a file has only for a scoring with a memory."""

_ERRORS_ONLY = 3
_OUT_OF_MEMORY = ("Failed to allocate memory", "bad_alloc", "out of memory", "OUT_OF_MEMORY")
_LOST = ("CUDA failure 700", "CUDA failure 719", "unspecified launch failure", "illegal memory")


class OnnxEngine:
    """An ONNX file in memory, computed on `device` with `threads` threads.

    `data` is the file's content and `size` its input's (height, width). Raises `CheckpointError`
    for any other content, `BackendUnavailable` if there is no such device.
    """

    def __init__(
        self, data: bytes, size: tuple[int, int], device: str = "cpu", threads: int = 1
    ) -> None:
        self.device = device
        self.library, self.precision = "onnxruntime", "float32"
        self.nbytes = len(data)
        self._session = _open(data, device, threads)
        self._needs_category, self._outputs = _check(self._session, size)
        self._lost = False

    def compare(
        self, images: UInt8[np.ndarray, "B 3 H W"], lap: Lap
    ) -> Float32[np.ndarray, "B *what"]:
        """Implement `Engine.compare`; the only lap is network."""
        feeds = {IMAGE: np.ascontiguousarray(images)}
        if self._needs_category:  # the outputs used here do not depend on it
            feeds[CATEGORY] = np.zeros(len(images), np.int64)
        try:
            outputs = self._session.run(self._outputs, feeds)
        except Exception as error:
            raise self._translated(error) from error
        if len(outputs) > 1:  # one flat row an image
            outputs = [np.concatenate([o.reshape(len(images), -1) for o in outputs], axis=1)]
        compared = np.require(outputs[0], np.float32, ["C", "W"])
        lap("network")
        return compared

    @property
    def has_patches(self) -> bool:
        """Whether the file computes what a memory needs."""
        return PATCHES in self._outputs

    def answers(self) -> bool:
        """Return whether the device still works: False after an error that means it is lost."""
        return not self._lost

    def release(self) -> None:
        """Do nothing: onnxruntime keeps its arena as long as the session."""

    def _translated(self, error: Exception) -> Exception:
        """Return our exception for one of onnxruntime, by its text: its classes say too little."""
        text = str(error)
        if any(words in text for words in _OUT_OF_MEMORY):
            return OutOfMemory(
                f"onnxruntime is out of memory on {self.device}; use smaller batches"
            )
        if self.device != "cpu" and any(words in text for words in _LOST):
            self._lost = True
            return DeviceLost(text)
        return error


def _open(data: bytes, device: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    # Threads that spin between operators take cores from those that decode the next images.
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
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise BackendUnavailable(
            f"cannot use {device}: this onnxruntime {ort.__version__} only supports the CPU; "
            "install onnxruntime-gpu instead"
        )
    number = int(device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]


def _check(session: ort.InferenceSession, size: tuple[int, int]) -> tuple[bool, list[str]]:
    """Return whether the file has the category as input, and the names of the outputs to use.

    Raises `CheckpointError` for unexpected inputs or outputs.
    """
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    name = RESIDUALS if RESIDUALS in outputs else MAP
    image, output = inputs.pop(IMAGE, None), outputs.get(name)
    patches = outputs.get(PATCHES)
    needs_category = inputs.pop(CATEGORY, None) is not None
    fits = (
        not inputs
        and image is not None
        and output is not None
        and (image.type, output.type) == ("tensor(uint8)", "tensor(float)")
        and list(image.shape[1:]) == [3, *size]
        and (len(output.shape) == 2 if name == RESIDUALS else list(output.shape[1:]) == list(size))
        and not isinstance(image.shape[0], int)
        and (patches is None or (patches.type, len(patches.shape)) == ("tensor(float)", 2))
    )
    if not fits:
        described = [(node.name, node.type, node.shape) for node in session.get_inputs()]
        raise CheckpointError(
            f"the ONNX file is not from `mambaad export`: expected {IMAGE} uint8 (batch, 3, "
            f"{size[0]}, {size[1]}), {CATEGORY} and an output {MAP} or flat {RESIDUALS}; "
            f"got {described} and {sorted(outputs)}"
        )
    return needs_category, [name] if patches is None else [name, PATCHES]
