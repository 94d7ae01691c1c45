"""Files of tensors that were written elsewhere, read without running code from them."""

import pickle
import warnings
import zipfile
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from model.errors import WeightsError
from model.network.weights_source import WEIGHTS_EXPECTED, check_weights_file


def read_weights_file(path: Path) -> object:
    """Return what a file holds, tensors and plain values only; raises `WeightsError`."""
    check_weights_file(path)
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(
                f"{path} is not a safetensors file, or is cut off: {error}"
            ) from error
    try:
        with warnings.catch_warnings():  # what torch warns of, the errors below say
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise WeightsError(f"{path} may not be read: {error.strerror}") from error
    except Exception as error:  # torch raises a dozen kinds for what is no file of its own
        raise WeightsError(_not_weights(path, error)) from error


def _not_weights(path: Path, error: Exception) -> str:
    """Say what a file seems to be instead of weights."""
    with path.open("rb") as file:
        head = file.read(64)
    if zipfile.is_zipfile(path) or (head[:1] == b"\x80" and isinstance(error, pickle.PickleError)):
        return (
            f"{path} holds something else than tensors and plain values, such as a whole model or "
            "other objects of Python, and was not unpickled: save its state dict alone "
            "(torch.save(model.state_dict(), FILE)) and take that file"
        )
    if head[:2] == b"PK":
        return f"{path} is cut off or damaged: copy or download it again"
    kind = "text" if _is_text(head) else "nothing that torch knows"
    return f"{path} is not a file of weights, but {kind}: {WEIGHTS_EXPECTED}"


def _is_text(head: bytes) -> bool:
    try:
        text = head[:60].decode("utf-8", "strict")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\r\n\t" for character in text)
