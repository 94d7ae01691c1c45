"""What a version's folder has for people: its manifest and its report."""

from model.checkpoints.key import CheckpointKey
from model.checkpoints.manifest import Manifest
from model.checkpoints.store import Store, read_report
from model.errors import CheckpointError


class Documents:
    """Reads the store on request; blocks. `key` is a version of the catalogue.

    report = Documents(Store(weights_dir)).report(CheckpointKey("bolts", "4"))
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def manifest(self, key: CheckpointKey) -> Manifest | None:
        """Return a version's manifest as it is on disk now; None if it cannot be read."""
        try:
            return Manifest.read(self._store.find(key.name, key.version))
        except CheckpointError:
            return None

    def report(self, key: CheckpointKey) -> bytes | None:
        """Return a version's report in HTML; None if it has none that can be read."""
        try:
            return read_report(self._store.find(key.name, key.version))
        except CheckpointError:
            return None
