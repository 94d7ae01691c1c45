"""Whether weights can be had from timm's hub, asked once and briefly, before any work is done."""

import ssl
import urllib.error
import urllib.request
from typing import Any

import huggingface_hub
from huggingface_hub import constants

TIMEOUT_S = 5.0
_FILES = ("model.safetensors", "pytorch_model.bin")


def why_not(config: dict[str, Any], tagged: str) -> str | None:
    """Say why the hub cannot be asked for a model's weights; None where it can, or need not be.

    `config` is timm's pretrained configuration of it. The hub's own client would go on trying for
    most of a minute.
    """
    repository = str(config.get("hf_hub_id") or "")
    repository += tagged if repository.endswith("/") else ""
    if not repository or _is_cached(repository):
        return None
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and they are not in its cache"
    return _unreachable(constants.ENDPOINT)


def _is_cached(repository: str) -> bool:
    found = (huggingface_hub.try_to_load_from_cache(repository, file) for file in _FILES)
    return any(isinstance(path, str) for path in found)


def _unreachable(url: str) -> str | None:
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return None
    except urllib.error.HTTPError:
        return None  # it answers; the client has its own ways to go on from there
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return None  # certificates are found elsewhere by the client
        return f"{url} cannot be reached: {reason}"
