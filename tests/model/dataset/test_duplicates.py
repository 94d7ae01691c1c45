"""Images that look the same stay on one side of every split."""

import numpy as np
import pytest
from PIL import Image

from model.dataset import Sample, split_good
from model.dataset.duplicates import alike
from model.errors import DatasetError
from model.training import Recipe, Run, TrainingConfig, TrainingData, read_training_data
from model.training.data import digests, divide_as_recorded, find_good_images
from model.training.folds import deal
from tests.model.dataset.test_survey import photo


@pytest.fixture
def root(tmp_path):
    """20 pictures; five are stored three times, one of them smaller and one as a JPEG."""
    folder = tmp_path / "bolt" / "train" / "good"
    folder.mkdir(parents=True)
    for seed in range(20):
        picture = photo(seed)
        picture.save(folder / f"{seed:02}.png")
        if seed < 5:
            picture.resize((80, 80)).save(folder / f"{40 - seed}.png")
            picture.save(folder / f"{60 - seed}.jpg", quality=70)
    return tmp_path


def groups(parts):
    return sorted(sorted(sample.path.stem for sample in group) for group in parts)


EXPECTED = sorted(sorted([f"{n:02}", str(40 - n), str(60 - n)]) for n in range(5))


def test_pictures_saved_again_are_alike(root):
    assert groups(alike(find_good_images(root, None).train)) == EXPECTED


@pytest.mark.parametrize("seed", range(5))
def test_no_split_and_no_fold_divides_look_alikes(root, seed, tmp_path):
    data = read_training_data(root, None, None, 0.2, seed)
    assert len(data.together) == 5
    assert 5 <= len(data.held_out) <= 6
    assert len(data.train) + len(data.held_out) == 30
    watching = data.keep_apart(0.3, seed)
    every = find_good_images(root, None).look_for_duplicates().divide(0.2, seed, folds=4)
    config = TrainingConfig(folds=4, seed=seed)
    folded = deal(Run(name="bolt", folder=tmp_path, store=None, recipe=Recipe(training=config)),
                  every)  # fmt: skip
    parts = [data.train, data.held_out, watching.train, watching.watch]
    parts += [fold.left_out for fold in folded] + [fold.data.train for fold in folded]
    for part in map(set, parts):
        for group in data.together:
            # A group is whole on one side, or whole in what `keep_apart` and `deal` left elsewhere.
            assert not group & part or group <= part
    assert sum(len(fold.left_out) for fold in folded) == 30


def test_a_split_without_look_alikes_is_as_before(tmp_path):
    samples = [Sample(tmp_path / f"{n}.png", "bolt", "good") for n in range(30)]
    assert split_good(samples, 0.2, 3) == split_good(samples, 0.2, 3, [frozenset(samples[:1])])


def test_the_division_of_an_earlier_version_is_found_again(root):
    images = find_good_images(root, None)
    before = images.divide(0.2, 0)
    after = images.look_for_duplicates().divide(0.2, 0)
    assert before.held_out != after.held_out
    for data in (before, after):
        again = divide_as_recorded(images, 0.2, 0, digests(data.held_out))
        assert again.held_out == data.held_out


def test_images_that_are_all_the_same_cannot_be_held_out(tmp_path):
    samples = [Sample(tmp_path / f"{n}.png", "bolt", "good") for n in range(4)]
    with pytest.raises(DatasetError, match="all 4 good images of 'bolt' look the same"):
        split_good(samples, 0.2, 0, [frozenset(samples)])
    folds = Run(
        name="b", folder=tmp_path, store=None, recipe=Recipe(training=TrainingConfig(folds=2))
    )
    with pytest.raises(DatasetError, match="only 1 of the 4 good images of 'bolt' look different"):
        deal(folds, TrainingData(tuple(samples), (), together=(frozenset(samples),)))


def test_where_the_fixture_looks_alike_only_equal_pixels_count(tmp_path):
    folder = tmp_path / "bolt"
    folder.mkdir()
    for number in range(12):
        pixels = np.asarray(photo(1)).copy()
        pixels[number, number] = 255 - pixels[number, number]
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    Image.fromarray(pixels).save(folder / "again.bmp")
    samples = [Sample(path, "bolt", "good") for path in sorted(folder.iterdir())]
    assert groups(alike(samples)) == [["11", "again"]]
