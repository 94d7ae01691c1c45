"""The digest of test data, against `sha256sum`."""

import shutil
import subprocess

import pytest

from model.dataset import Sample
from model.errors import ImageError
from model.evaluation.identity import identify


@pytest.fixture
def samples(tmp_path):
    made = []
    for number, name in enumerate(("b.png", "a.png", "back\\slash.png", "new\nline.png")):
        (tmp_path / name).write_bytes(b"image %d" % number)
        made.append(Sample(tmp_path / name, "bolt", "good"))
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("1.png", "2.png"):
        (masks / name).write_bytes(name.encode())
    return [*made[:3], Sample(made[3].path, "bolt", "crack", masks)]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_anybody_can_check_it(tmp_path, samples):
    identity = identify(samples, tmp_path)
    command = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    printed = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert identity.sha256 == printed.split()[0]
    assert (identity.images, identity.masks) == (4, 2)
    assert identity.text() == f"sha256 {identity.sha256}, of 4 images and 2 masks"
    assert identify(samples[::-1], tmp_path) == identity


def test_another_byte_or_name_is_another_digest(tmp_path, samples):
    before = identify(samples, tmp_path).sha256
    samples[0].path.write_bytes(b"image x")
    changed = identify(samples, tmp_path).sha256
    assert changed != before
    samples[0].path.write_bytes(b"image 0")
    assert identify(samples, tmp_path).sha256 == before
    renamed = samples[0].path.rename(tmp_path / "c.png")
    moved = [Sample(renamed, "bolt", "good"), *samples[1:]]
    assert identify(moved, tmp_path).sha256 not in (before, changed)


def test_a_missing_image_is_an_error(tmp_path):
    with pytest.raises(ImageError, match="cannot read"):
        identify([Sample(tmp_path / "none.png", "bolt", "good")], tmp_path)
