from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from model.dataset import Dataset, ImageDataset, Sample, read_mask, read_mvtec, split_good
from model.errors import DatasetError, ImageError
from model.images.preprocess import Preprocessing

PREPROCESSING = Preprocessing(image_size=(32, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def write_image(path, size=(20, 10), value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)
    return path


@pytest.fixture
def category(tmp_path):
    """A folder in MVTec layout: category `bolt` with four good and three defective images."""
    folder = tmp_path / "parts" / "bolt"
    for n in range(4):
        write_image(folder / f"train/good/{n:03}.png", value=40 * n)
    write_image(folder / "test/good/000.png")
    write_image(folder / "test/crack/000.png")
    write_image(folder / "test/crack/001.JPG")
    write_image(folder / "test/dent/000.tiff")
    write_image(folder / "ground_truth/crack/000_mask.png")
    write_image(folder / "ground_truth/crack/001.png")
    return folder


def paths(tmp_path, count, category="bolt"):
    return [Sample(tmp_path / category / f"{n:03}.png", category, "good") for n in range(count)]


def test_reads_every_image_with_its_label_and_mask(category):
    dataset = read_mvtec(category.parent)
    assert [s.path.name for s in dataset.train] == ["000.png", "001.png", "002.png", "003.png"]
    assert all(s.is_good and s.category == "bolt" and s.mask is None for s in dataset.train)
    truth = category / "ground_truth/crack"
    assert dataset.test == [
        Sample(category / "test/crack/000.png", "bolt", "crack", truth / "000_mask.png"),
        Sample(category / "test/crack/001.JPG", "bolt", "crack", truth / "001.png"),
        Sample(category / "test/dent/000.tiff", "bolt", "dent"),
        Sample(category / "test/good/000.png", "bolt", "good"),
    ]
    assert [s.is_good for s in dataset.test] == [False, False, False, True]


def test_the_root_may_be_the_category(category, monkeypatch):
    assert read_mvtec(category) == read_mvtec(category.parent)
    monkeypatch.chdir(category)
    assert read_mvtec(Path()).categories == ("bolt",)


def test_reads_several_categories_or_those_named(category):
    write_image(category.parent / "anchor/train/good/000.png")
    (category.parent / "readme").mkdir()
    assert read_mvtec(category.parent).categories == ("anchor", "bolt")
    chosen = read_mvtec(category.parent, ["anchor"])
    assert chosen.categories == ("anchor",)
    assert (len(chosen.train), len(chosen.test)) == (1, 0)
    with pytest.raises(DatasetError, match=r"no category nut .*have: anchor, bolt"):
        read_mvtec(category.parent, ["bolt", "nut"])
    with pytest.raises(DatasetError, match="no category chosen"):
        read_mvtec(category.parent, [])


def test_a_test_split_alone_can_be_read(tmp_path):
    write_image(tmp_path / "bolt/test/crack/000.png")
    dataset = read_mvtec(tmp_path)
    assert dataset.train == []
    assert [s.defect for s in dataset.test] == ["crack"]


def test_hidden_files_and_other_files_are_passed_over(category):
    (category / "train/good/.DS_Store").write_bytes(b"x")
    (category / "train/good/._000.png").write_bytes(b"x")
    (category / "train/good/Thumbs.db").write_bytes(b"x")
    (category / "train/good/notes.txt").write_text("x")
    (category.parent / "license.txt").write_text("x")
    (category / "test/.cache").mkdir()
    assert len(read_mvtec(category.parent).train) == 4
    assert len(read_mvtec(category.parent).test) == 4


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="no folder"):
        read_mvtec(tmp_path / "nowhere")


def test_another_layout_is_an_error_that_lists_what_is_there(tmp_path):
    with pytest.raises(DatasetError, match="found nothing"):
        read_mvtec(tmp_path)
    write_image(tmp_path / "good/000.png")
    (tmp_path / "labels.csv").write_text("x")
    with pytest.raises(DatasetError, match=r"train/good/.*found good/, labels\.csv"):
        read_mvtec(tmp_path)


def test_a_long_listing_is_cut(tmp_path):
    for n in range(30):
        (tmp_path / f"{n:02}.csv").write_text("x")
    with pytest.raises(DatasetError, match=r"00\.csv, .*07\.csv, \.\.\. \(30 in all\)"):
        read_mvtec(tmp_path)


def test_an_empty_folder_is_an_error(category):
    (category / "test/scratch").mkdir()
    with pytest.raises(DatasetError, match=r"no images in .*scratch: found nothing"):
        read_mvtec(category)


def test_defects_among_training_images_are_an_error(category):
    write_image(category / "train/crack/000.png")
    with pytest.raises(DatasetError, match="found crack/, good/"):
        read_mvtec(category)


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_outside_a_folder_are_an_error(category, split):
    write_image(category / split / "000.png")
    with pytest.raises(DatasetError, match=r"1 images outside any folder \(000\.png"):
        read_mvtec(category)


def test_masks_that_fit_no_image_are_an_error(category):
    (category / "ground_truth/crack/000_mask.png").rename(category / "ground_truth/crack/a_gt.png")
    (category / "ground_truth/crack/001.png").unlink()
    with pytest.raises(DatasetError, match=r"none of the 1 masks .*expected 000_mask\.png"):
        read_mvtec(category)


def test_a_category_with_a_space_gets_a_safe_name(tmp_path):
    write_image(tmp_path / "my bolt/train/good/000.png")
    dataset = read_mvtec(tmp_path)
    assert (dataset.categories, dataset.names) == (("my-bolt",), {"my-bolt": "my bolt"})
    for category in ("my bolt", "my-bolt"):
        assert read_mvtec(tmp_path, [category]).train == dataset.train


def test_split_is_stratified_complete_and_in_order(tmp_path):
    samples = paths(tmp_path, 40) + paths(tmp_path, 10, "anchor")
    train, held_out = split_good(samples, 0.2, seed=3)
    assert sorted([*train, *held_out], key=samples.index) == samples
    assert not set(train) & set(held_out)
    assert sum(s.category == "bolt" for s in held_out) == 8
    assert sum(s.category == "anchor" for s in held_out) == 2
    assert train == sorted(train, key=samples.index)
    assert held_out == sorted(held_out, key=samples.index)


def test_split_depends_on_seed_and_names_only(tmp_path):
    samples = paths(tmp_path / "a", 40)
    names = [s.path.name for s in split_good(samples, 0.2, seed=3)[1]]
    elsewhere = paths(tmp_path / "b", 40)[::-1] + paths(tmp_path, 10, "anchor")
    moved = [s for s in split_good(elsewhere, 0.2, seed=3)[1] if s.category == "bolt"]
    assert sorted(s.path.name for s in moved) == names
    assert names != [s.path.name for s in split_good(samples, 0.2, seed=4)[1]]


@pytest.mark.parametrize(
    ("count", "fraction", "held_out_count"), [(2, 0.01, 1), (2, 0.99, 1), (10, 0.25, 2)]
)
def test_split_leaves_something_on_both_sides(tmp_path, count, fraction, held_out_count):
    train, held_out = split_good(paths(tmp_path, count), fraction, seed=0)
    assert (len(train), len(held_out)) == (count - held_out_count, held_out_count)


def test_split_refuses_what_cannot_be_split(tmp_path):
    with pytest.raises(DatasetError, match="need at least 2"):
        split_good(paths(tmp_path, 1), 0.2, seed=0)
    with pytest.raises(DatasetError, match="only good images"):
        split_good([Sample(tmp_path / "0.png", "bolt", "crack")], 0.2, seed=0)
    for fraction in (0.0, 1.0):
        with pytest.raises(DatasetError, match="between 0 and 1"):
            split_good(paths(tmp_path, 4), fraction, seed=0)


def test_images_come_as_preprocessed_with_their_index(category):
    images = ImageDataset(read_mvtec(category).train, PREPROCESSING)
    assert len(images) == 4
    tensor, index = images[3]
    assert index == 3
    assert tensor.dtype == torch.uint8
    assert tensor.shape == (3, 32, 64)
    assert torch.all(tensor == 120)


def test_images_are_decoded_once_within_the_budget(category):
    train = read_mvtec(category).train
    images = ImageDataset(train, PREPROCESSING, cache_bytes=2 * 3 * 32 * 64)
    first = [images[n][0] for n in range(4)]
    for sample in train:
        sample.path.unlink()
    assert torch.equal(images[1][0], first[1])
    with pytest.raises(ImageError):
        images[2]


def test_no_budget_means_no_cache(category):
    train = read_mvtec(category).train
    images = ImageDataset(train, PREPROCESSING, cache_bytes=0)
    images[0]
    train[0].path.unlink()
    with pytest.raises(ImageError):
        images[0]


def add_noise(image, generator):
    return image.add_(torch.randint(0, 9, image.shape, dtype=torch.uint8, generator=generator))


def noisy(category, seed=0):
    return ImageDataset(read_mvtec(category).train, PREPROCESSING, add_noise, seed=seed)


def test_augmentation_depends_on_seed_epoch_and_index_alone(category):
    images = noisy(category)
    first = [images[n][0] for n in range(4)]
    assert all(torch.equal(images[n][0], first[n]) for n in (3, 1, 2, 0))
    noise = [first[n].int() - 40 * n for n in range(4)]
    assert not torch.equal(noise[0], noise[1])
    images.set_epoch(1)
    assert not torch.equal(images[0][0], first[0])
    images.set_epoch(0)
    assert torch.equal(images[0][0], first[0])
    assert not torch.equal(noisy(category, seed=1)[0][0], first[0])


def test_worker_processes_change_nothing(category):
    alone, shared = noisy(category), noisy(category)
    loader = DataLoader(
        shared, batch_size=2, num_workers=2, persistent_workers=True, multiprocessing_context="fork"
    )
    for epoch in range(2):
        alone.set_epoch(epoch)
        shared.set_epoch(epoch)
        for batch, indices in loader:
            for image, index in zip(batch, indices.tolist(), strict=True):
                assert torch.equal(image, alone[index][0])


def defect(tmp_path, mask, image_size=(20, 10), suffix=".png"):
    image = write_image(tmp_path / "000.png", size=image_size)
    mask.save(tmp_path / f"mask{suffix}")
    return Sample(image, "bolt", "crack", tmp_path / f"mask{suffix}")


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "I;16"])
def test_a_mask_of_any_mode_is_read(tmp_path, mode):
    marked = np.zeros((10, 20), dtype=bool)
    marked[2:5, 7:9] = True
    if mode == "I;16":
        mask = Image.fromarray(marked.astype(np.uint16))
    else:
        mask = Image.fromarray(marked.astype(np.uint8) * 255).convert(mode)
    actual = read_mask(defect(tmp_path, mask), (10, 20))
    assert actual.dtype == bool
    assert np.array_equal(actual, marked)


def test_a_label_of_one_is_a_defect_and_a_jpeg_edge_is_not(tmp_path):
    assert read_mask(defect(tmp_path, Image.new("L", (20, 10), 1)), (10, 20)).all()
    sample = defect(tmp_path, Image.new("L", (20, 10), 9), suffix=".jpg")
    assert not read_mask(sample, (10, 20)).any()


def test_a_mask_is_resized_by_nearest_neighbour(tmp_path):
    marked = np.zeros((8, 8), dtype=np.uint8)
    marked[3, 5] = 255
    sample = defect(tmp_path, Image.fromarray(marked), image_size=(8, 8))
    larger = read_mask(sample, (16, 24))
    assert np.argwhere(larger).min(axis=0).tolist() == [6, 15]
    assert np.argwhere(larger).max(axis=0).tolist() == [7, 17]
    assert read_mask(sample, (4, 4)).tolist() == (marked[1::2, 1::2] > 0).tolist()


def test_a_good_part_has_an_empty_mask(tmp_path):
    mask = read_mask(Sample(tmp_path / "0.png", "bolt", "good"), (3, 5))
    assert mask.shape == (3, 5)
    assert not mask.any()


def test_a_mask_of_another_size_is_an_error(tmp_path):
    sample = defect(tmp_path, Image.new("L", (10, 20), 255))
    with pytest.raises(DatasetError, match=r"10 x 20 px, expected 20 x 10 like its image 000\.png"):
        read_mask(sample, (10, 20))


def test_a_mask_fits_its_image_as_seen_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    sample = defect(tmp_path, Image.new("L", (10, 20), 255))
    Image.new("L", (20, 10)).save(sample.path, exif=exif)
    assert read_mask(sample, (20, 10)).all()


def test_a_defect_without_mask_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="has no mask"):
        read_mask(Sample(tmp_path / "0.png", "bolt", "crack"), (3, 5))


def test_a_dataset_knows_its_categories(tmp_path):
    dataset = Dataset(paths(tmp_path, 1), paths(tmp_path, 1, "anchor"))
    assert dataset.categories == ("anchor", "bolt")
