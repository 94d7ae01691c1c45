"""Sample images of a folder, to try the service without an image of one's own."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from model.bounded import read_regular
from model.images.files import images_in_folder
from service.errors import InvalidRequest

_MOST = 12


class Samples:
    """Images in `<folder>/<category>/`; a missing folder has none."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def names(self, category: str) -> Sequence[str]:
        """Return the file names of a category's samples, sorted."""
        folder = self._folder / category
        if not folder.is_dir():
            return []
        return [path.name for path in islice(images_in_folder(folder), _MOST)]

    def read(self, category: str, name: str) -> bytes:
        """Return a sample's file. Raises `InvalidRequest`, also for names that lead elsewhere."""
        if name not in self.names(category):
            raise InvalidRequest(f"no sample {name[:100]!r} of the category {category[:100]!r}")
        try:
            return read_regular(self._folder / category / name, self._max_bytes)[0]
        except OSError as error:
            raise InvalidRequest(f"the sample {name!r} cannot be read") from error
