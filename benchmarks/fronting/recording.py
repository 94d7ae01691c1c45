"""Records findings of the real network, for the measured process to replay.

record(Path("weights"), images, Path("findings"))
"""

import pickle
from collections.abc import Mapping
from pathlib import Path

from model.checkpoints.store import Store
from model.images.decoding import OWN_FILES, decode
from model.inspection import ImageSize
from model.runtimes.runtimes import Runtimes
from service.workers.child.checkpoint import LoadedCheckpoint
from service.workers.pipe.messages import Finding, Item


def record(weights: Path, images: Mapping[str, bytes], file: Path) -> dict[str, Finding]:
    """Inspect one image of each category; write the findings, with their maps, and the images."""
    store = Store(weights)
    (newest, *_) = store.manifests()
    _, detector = Runtimes().open(store.find(newest.name, newest.version))
    loaded = LoadedCheckpoint(detector)
    findings: dict[str, Finding] = {}
    for category, content in images.items():
        image = detector.preprocessing.upright(decode(content, OWN_FILES))
        pixels = detector.preprocessing.to_arrays(image)
        size = ImageSize(image.height, image.width)
        item = Item(category, size, True, detector.calibrations[category], len(pixels))
        (finding,) = loaded.inspect((item,), pixels)
        assert isinstance(finding, Finding), finding
        findings[category] = finding
    file.write_bytes(pickle.dumps({name: (findings[name], images[name]) for name in images}))
    return findings
