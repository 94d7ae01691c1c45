import logging

import numpy as np
import pytest
import torch
from PIL import Image

from model.dataset import ImageDataset, PixelCache, Sample
from model.errors import ImageError
from model.images.preprocess import Preprocessing


def preprocessing(**options):
    defaults = {"image_size": (16, 24), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    return Preprocessing(**defaults | options)


def entries_of(folder):
    return sorted(path.name for path in folder.rglob("*.npy"))


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "tile"])
def test_what_is_kept_is_what_would_be_decoded(tmp_path, picture, resize):
    path = picture(tmp_path / "a.png", size=(50, 40))
    rule = preprocessing(resize=resize)
    plain = PixelCache(rule).read(path)
    cache = PixelCache(rule, tmp_path / "cache")
    assert np.array_equal(cache.read(path), plain)
    assert len(entries_of(tmp_path / "cache")) == 1
    again = cache.read(path)
    assert np.array_equal(again, plain)
    assert isinstance(again.base, np.memmap)


def test_the_content_and_the_rule_name_what_is_kept(tmp_path, picture):
    path = picture(tmp_path / "a.png", 1)
    folder = tmp_path / "cache"
    PixelCache(preprocessing(), folder).read(path)
    copy = tmp_path / "elsewhere.png"
    copy.write_bytes(path.read_bytes())
    PixelCache(preprocessing(std=(0.1,) * 3), folder).read(copy)
    assert len(entries_of(folder)) == 1  # neither the name nor the normalisation changes pixels
    changed = picture(tmp_path / "a.png", 2)
    first = PixelCache(preprocessing(), folder).read(changed)
    assert np.array_equal(first, PixelCache(preprocessing()).read(changed))
    PixelCache(preprocessing(resize="letterbox"), folder).read(changed)
    assert len(entries_of(folder)) == 3


@pytest.mark.parametrize("damage", [b"", b"no array", "cut"])
def test_a_damaged_entry_is_made_again(tmp_path, picture, damage):
    path = picture(tmp_path / "a.png")
    cache = PixelCache(preprocessing(), tmp_path / "cache")
    plain = np.array(cache.read(path))
    (file,) = (tmp_path / "cache").rglob("*.npy")
    original = file.read_bytes()
    file.write_bytes(original[: len(original) // 2] if damage == "cut" else damage)
    assert np.array_equal(cache.read(path), plain)
    assert file.read_bytes() == original


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path, picture, caplog):
    (tmp_path / "cache").write_text("a file")
    paths = [picture(tmp_path / f"{seed}.png", seed) for seed in range(3)]
    cache = PixelCache(preprocessing(), tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        images = [cache.read(path) for path in paths]
    assert len(caplog.records) == 1
    assert np.array_equal(images[2], PixelCache(preprocessing()).read(paths[2]))


def test_a_missing_image_is_an_error(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        PixelCache(preprocessing(), tmp_path / "cache").read(tmp_path / "a.png")


def test_a_data_set_reads_from_the_cache(tmp_path, picture):
    samples = [Sample(picture(tmp_path / f"{n}.png", n), "bolt", "good") for n in range(3)]
    rule = preprocessing()
    plain = [ImageDataset(samples, rule)[n][0] for n in range(3)]
    for _ in range(2):
        cached = ImageDataset(samples, rule, cache_bytes=0, cache=PixelCache(rule, tmp_path / "c"))
        assert all(torch.equal(cached[n][0], plain[n]) for n in range(3))
    assert len(entries_of(tmp_path / "c")) == 3


def test_changing_an_image_changes_nothing_that_is_kept(tmp_path, picture):
    sample = Sample(picture(tmp_path / "a.png"), "bolt", "good")
    rule = preprocessing()

    def darken(image, _generator):
        return image.zero_()

    for cache in (None, PixelCache(rule, tmp_path / "c")):
        data = ImageDataset([sample], rule, darken, cache=cache)
        assert not data[0][0].any()
    assert PixelCache(rule, tmp_path / "c").read(sample.path).any()


def test_a_tiled_image_is_trained_on_one_place_an_epoch(tmp_path):
    values = np.arange(60 * 80, dtype=np.uint16).reshape(60, 80) % 251
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "a.png")
    sample = Sample(tmp_path / "a.png", "bolt", "good")
    data = ImageDataset([sample], preprocessing(resize="tile"), seed=3)
    first = data[0][0]
    assert first.shape == (3, 16, 24)
    assert torch.equal(data[0][0], first)
    windows = np.lib.stride_tricks.sliding_window_view(values.astype(np.uint8), (16, 24))
    assert (windows == first[0].numpy()).all(axis=(2, 3)).any()
    places = set()
    for epoch in range(20):
        data.set_epoch(epoch)
        places.add(data[0][0].numpy().tobytes())
    assert len(places) > 15
    data.set_epoch(0)
    assert torch.equal(data[0][0], first)
