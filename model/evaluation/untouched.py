"""Check whether training or calibration has seen the test images."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.checkpoints.manifest import Manifest
from model.checkpoints.seen import SeenImages, read_seen
from model.dataset import Sample
from model.dataset.fingerprints import fingerprints, halves
from model.errors import CheckpointError, ImageError

_NAMED = 5
CLEAN = "None of these test images was in training or calibration: their content was compared."


@dataclass(frozen=True, slots=True)
class Untouched:
    """The check of `images` test images: those `seen`, each with its first use.

    `gap` says what could not be compared; if set, the other images may have been seen too.
    """

    images: int
    seen: tuple[tuple[Sample, str], ...] = ()
    gap: str | None = None

    @property
    def is_sure(self) -> bool:
        """Whether all images were compared and none was seen."""
        return not self.seen and self.gap is None

    def sentences(self) -> list[str]:
        """Describe the seen images, with the first few names, and what was not checked."""
        if self.is_sure:
            return [CLEAN]
        texts = []
        if self.seen:
            counts = Counter(use for _, use in self.seen)
            uses = ", ".join(f"{count} {use}" for use, count in sorted(counts.items()))
            names = ", ".join(str(sample.path) for sample, _ in self.seen[:_NAMED])
            more = f" and {len(self.seen) - _NAMED} more" if len(self.seen) > _NAMED else ""
            texts.append(
                f"{len(self.seen)} of these {self.images} test images were in training or "
                f"calibration ({uses}): {names}{more}. Results on new parts will be worse."
            )
        if self.gap:
            which = "the other" if self.seen else "these"
            texts.append(
                f"Not checked whether {which} test images were in training or calibration: "
                f"{self.gap}."
            )
        return texts

    def counts(self) -> dict[str, Any]:
        """Return the counts for a manifest, without file names and paths."""
        return {"checked": self.gap is None, "seen": len(self.seen)}

    def to_dict(self) -> dict[str, Any]:
        """Return the check as JSON values."""
        seen = [{"image": str(sample.path), "use": use} for sample, use in self.seen]
        return {"checked": self.gap is None, "not_checked": self.gap, "seen": seen}


def check_untouched(
    directory: Path,
    manifest: Manifest,
    samples: Sequence[Sample],
    advance: Callable[[int], None] = lambda _images: None,
) -> Untouched:
    """Compare the content of test images with the list in the version's `directory`.

    A missing list or an unreadable image is reported as the result's `gap`.
    """
    try:
        seen = read_seen(directory, manifest)
        if seen is None:
            return Untouched(len(samples), gap="the checkpoint keeps no list of its images")
        return compare_with(seen, manifest.calibration_version, samples, advance)
    except (CheckpointError, ImageError) as error:
        return Untouched(len(samples), gap=str(error))


def compare_with(
    seen: SeenImages,
    calibration_version: int,
    samples: Sequence[Sample],
    advance: Callable[[int], None] = lambda _images: None,
) -> Untouched:
    """Compare by file and by pixels; raises `ImageError` for an image that cannot be read."""
    uses: dict[str, str] = {}
    for digest, use in seen.uses(calibration_version):
        for half in halves(digest):
            uses.setdefault(half, use)
    matches = []
    for sample, digest in zip(samples, fingerprints(samples, advance), strict=True):
        earlier = [uses[half] for half in halves(digest) if half in uses]
        if earlier:
            matches.append((sample, earlier[0]))
    return Untouched(len(samples), tuple(matches), seen.gap(calibration_version))
