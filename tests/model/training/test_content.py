"""Blank images are reported before a training, not after it."""

import numpy as np
import pytest
from PIL import Image

from model.checkpoints.checkpoint import CheckpointStore
from model.errors import DatasetError
from model.training import Run, read_training_data, train
from tests.tiny import recipe, write_images


@pytest.fixture
def parts(tmp_path):
    write_images(tmp_path / "data/bolt/train/good", 6)
    write_images(tmp_path / "data/bolt/held_out/good", 2, seed=1)
    return tmp_path / "data"


def trained(parts):
    folder = parts.parent
    data = read_training_data(parts, ["bolt"], None, 0.2, 0)
    run = Run(
        name="tiny",
        folder=folder / "run",
        store=CheckpointStore(folder / "w"),
        recipe=recipe(folder),
    )
    return train(run, data)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_images_that_show_nothing_are_not_trained_on(parts, mode, split):
    Image.new(mode, (64, 64), 77).save(parts / f"bolt/{split}/good/000.png")
    with pytest.raises(DatasetError, match=r"1 of \d good images are blank.*000\.png"):
        trained(parts)
    assert not (parts.parent / "run").exists()


def test_one_picture_again_and_again_is_not_trained_on(parts):
    picture = Image.fromarray(np.eye(64, dtype=np.uint8) * 200)
    for path in (parts / "bolt/train/good").iterdir():
        picture.save(path)
    with pytest.raises(DatasetError, match="all 6 good images are the same picture"):
        trained(parts)
