"""Exports images as a folder in MVTec layout, which `mambaad train` reads.

    <folder>/<category>/train/good/<inspection id>-<view>.png
    <folder>/<category>/test/good/...
    <folder>/<category>/test/<defect class, or "defective">/...
    <folder>.csv                                               a row for each image

The list is beside the folder: inside, a reader would take it for a list of labels. A person's
verdict decides where an image goes. All inspections of a part are in the same split, in each
export.
"""

import csv
import hashlib
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.durable import rename_if_free
from model.inspection import Decision
from model.names import safe_name
from model.words import Words
from service.api.inspections.schemas import InspectionRow
from service.archive.media.folder import suffix_of
from service.archive.records import Verdict
from service.cli.archive.rows import cell
from service.cli.archive.sources import ImageUnavailable, Source

_COLUMNS = (
    "file", "inspection_id", "view", "sha256", "category", "split", "label", "defect_class",
    "decided_by", "told", "found", "score", "part_id", "station", "received_at", "model",
)  # fmt: skip
_GOOD, _DEFECTIVE = "good", "defective"


@dataclass(frozen=True, slots=True)
class Label:
    """Where an inspection belongs: `good`, or the folder of its defect; and who says so."""

    name: str
    decided_by: str
    defect_class: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether the part is good."""
        return self.name == _GOOD


@dataclass(slots=True)
class Exported:
    """Images written by "<split>/<label>", and inspections or images left out by reason."""

    written: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


class TrainingFolder:
    """Writes images into a folder that must not exist; it appears when it is complete.

    `test_share` is the fraction of good parts in the test split.
    """

    def __init__(self, folder: Path, *, assume_told: bool, test_share: float) -> None:
        self._folder = folder
        self._assume_told = assume_told
        self._test_share = test_share
        self.exported = Exported()
        self.manifest = folder.with_name(f"{folder.name}.csv")

    def write(self, rows: Iterable[InspectionRow], source: Source) -> Exported:
        """Write the images of inspections. Raises `FileExistsError` and `OSError`."""
        self._check_free()
        staging = self._folder.with_name(f".{self._folder.name}.{secrets.token_hex(8)}")
        staging.mkdir(parents=True)
        listing = staging.with_name(f"{staging.name}.csv")
        try:
            with listing.open("x", encoding="utf-8", newline="") as file:
                manifest = csv.DictWriter(file, _COLUMNS)
                manifest.writeheader()
                for row in rows:
                    self._write_part(row, source, staging, manifest)
            self._check_free()
            if not rename_if_free(staging, self._folder):
                raise FileExistsError(f"{self._folder} exists: give the name of a new folder")
            listing.rename(self.manifest)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            listing.unlink(missing_ok=True)
        return self.exported

    def _check_free(self) -> None:
        """Raise `FileExistsError` if the folder or its list exists."""
        for path in (self._folder, self.manifest):
            if path.exists():
                raise FileExistsError(f"{path} exists: give the name of a new folder")

    def _write_part(
        self, row: InspectionRow, source: Source, root: Path, manifest: "csv.DictWriter[str]"
    ) -> None:
        label = self._label(row, source)
        if label is None:
            self.exported.left_out["inspections without a decisive verdict"] += 1
            return
        for view in row.views:
            try:
                content = _verified(source, row, view.view)
            except ImageUnavailable as error:
                self.exported.left_out[str(error)] += 1
                continue
            split = "train" if label.is_good and not self._is_test(row) else "test"
            name = f"{row.inspection_id}-{view.view}.{suffix_of(content)}"
            path = Path(safe_name(row.category)) / split / label.name / name
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            with (root / path).open("xb") as file:
                file.write(content)
            manifest.writerow(_line(path, row, view.view, split, label))
            self.exported.written[f"{split}/{label.name}"] += 1

    def _label(self, row: InspectionRow, source: Source) -> Label | None:
        """Return the label; None if nobody can say whether the part is good."""
        if row.verdict is Verdict.GOOD:
            return Label(_GOOD, "verdict")
        if row.verdict is Verdict.DEFECTIVE:
            newest = source.find(row.inspection_id).verdicts[0]
            return Label(_folder_of(newest.defect_class), "verdict", newest.defect_class)
        if row.verdict is None and self._assume_told and row.told is Decision.OK:
            return Label(_GOOD, "told")
        if row.verdict is None and self._assume_told and row.told is Decision.NG:
            return Label(_DEFECTIVE, "told")
        return None

    def _is_test(self, row: InspectionRow) -> bool:
        """Return whether a good part is for the test; each part is always the same."""
        part = f"{row.category}\0{row.part_id or row.inspection_id}"
        number = int.from_bytes(hashlib.sha256(part.encode("utf-8", "replace")).digest()[:8])
        return number < self._test_share * 2**64


def _folder_of(defect_class: str | None) -> str:
    """Return a folder's name for a defect class, which no reader takes for something else.

    >>> _folder_of("Crack / long"), _folder_of("OK"), _folder_of(None)
    ('Crack-long', 'defective-565339bc', 'defective')
    """
    if not defect_class or not defect_class.strip():
        return _DEFECTIVE
    name = safe_name(defect_class)
    meaning = Words().meaning(name)
    means_defect = meaning.good is False and meaning.split is None and not meaning.mask
    if (meaning.is_name or means_defect) and not Words.sounds_good(name):
        return name
    digits = hashlib.sha256(defect_class.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{_DEFECTIVE}-{digits}"


def _verified(source: Source, row: InspectionRow, view: int) -> bytes:
    """Return an image that is the one that was inspected. Raises `ImageUnavailable`."""
    content = source.image(row, view)
    if hashlib.sha256(content).hexdigest() != row.views[view].image.sha256:
        raise ImageUnavailable("images whose hash is not the archived one")
    if suffix_of(content) == "bin":
        raise ImageUnavailable("files that are no image")
    return content


def _line(path: Path, row: InspectionRow, view: int, split: str, label: Label) -> dict[str, Any]:
    values = {
        "file": path.as_posix(), "inspection_id": row.inspection_id, "view": view,
        "sha256": row.views[view].image.sha256, "category": row.category, "split": split,
        "label": label.name, "defect_class": label.defect_class,
        "decided_by": label.decided_by, "told": row.told, "found": row.found,
        "score": row.score, "part_id": row.part_id, "station": row.station,
        "received_at": row.received_at.isoformat(),
        "model": row.model and f"{row.model.name}/{row.model.version}",
    }  # fmt: skip
    return {name: cell(value) for name, value in values.items()}
