"""Drawn defects are visible, correctly masked, and always the same."""

import hashlib

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from demo.drawn import COUNTS, DEFECTS, SIDE, TEXTURES, app, draw


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defect_is_where_the_mask_says_and_nowhere_else(kind):
    rng = np.random.default_rng(5)
    image = rng.uniform(0.3, 0.7, (96, 80)).astype(np.float32)
    drawn = draw(image, kind, np.random.default_rng(1))
    changed = np.abs(drawn.image - image)
    assert drawn.mask.any()
    assert drawn.mask.mean() < 0.2
    assert changed[~drawn.mask].max() <= 0.02
    assert changed[drawn.mask].mean() > 0.05
    assert np.array_equal(draw(image, kind, np.random.default_rng(1)).image, drawn.image)


def digest(root):
    files = sorted(path for path in root.rglob("*.png"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def test_textures_come_in_mvtec_layout_the_same_every_time(tmp_path):
    roots = tmp_path / "a", tmp_path / "b"
    for root in roots:
        assert CliRunner().invoke(app, ["textures", str(root)]).exit_code == 0
    assert digest(roots[0]) == digest(roots[1])
    for texture in TEXTURES:
        folder = roots[0] / texture
        assert len(list((folder / "train/good").iterdir())) == COUNTS["train"]
        masks = sorted(folder.glob("ground_truth/*/*_mask.png"))
        images = [folder / "test" / m.parent.name / m.name.replace("_mask", "") for m in masks]
        assert len(images) == COUNTS["test"] // 2
        for image, mask in zip(images, masks, strict=True):
            with Image.open(image) as shown, Image.open(mask) as marked:
                assert shown.size == marked.size == (SIDE, SIDE)
                assert set(np.unique(marked)) == {0, 255}
    refused = CliRunner().invoke(app, ["textures", str(roots[0])])
    assert refused.exit_code == 2
    assert "is not empty" in refused.output
