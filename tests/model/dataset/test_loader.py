import itertools
import threading

import numpy as np
import pytest
import torch

from model.dataset import ImageDataset, Loader, Sample
from model.dataset import loader as loader_module
from model.errors import ImageError
from model.images.preprocess import Preprocessing

PREPROCESSING = Preprocessing(image_size=(16, 24), mean=(0.5,) * 3, std=(0.5,) * 3)
ORDER = [[3, 0, 5], [1, 4, 2], [7, 6]]


def images(folder, picture, augment=None):
    paths = [picture(folder / f"{seed}.png", seed) for seed in range(8)]
    samples = [Sample(path, "bolt", "good") for path in paths]
    return ImageDataset(samples, PREPROCESSING, augment, seed=1)


def jitter(image, generator):
    return image + torch.randint(0, 9, image.shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("threads", [1, 4])
def test_batches_are_those_asked_for_whoever_reads_them(tmp_path, picture, threads):
    batches = list(Loader(images(tmp_path, picture, jitter), ORDER, threads))
    alone = images(tmp_path, picture, jitter)
    assert len(batches) == 3
    for batch, indices in zip(batches, ORDER, strict=True):
        assert torch.equal(batch, torch.stack([alone[index][0] for index in indices]))


def test_nothing_to_read_is_nothing(tmp_path, picture):
    loader = Loader(images(tmp_path, picture), [])
    assert (list(loader), len(loader), loader.wait_share) == ([], 0, 0.0)


class Gated(ImageDataset):
    """Images that are available when the test releases them."""

    def __init__(self):
        super().__init__([], PREPROCESSING)
        self.requested = []
        self.gate = threading.Semaphore(0)
        self.arrived = threading.Condition()

    def __getitem__(self, index):
        with self.arrived:
            self.requested.append(index)
            self.arrived.notify_all()
        assert self.gate.acquire(timeout=30)
        return torch.full((3, 1, 1), index, dtype=torch.uint8), index

    def wait_until_asked_for(self, count):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.requested) >= count, timeout=30)


def test_the_next_batches_are_read_while_the_caller_works():
    gated = Gated()
    batches = iter(Loader(gated, [[n] for n in range(9)], threads=9, ahead=2))
    gated.gate.release()
    next(batches)
    gated.wait_until_asked_for(3)  # the current one, and two read ahead
    assert sorted(gated.requested) == [0, 1, 2]
    for _ in range(8):
        gated.gate.release()
    assert len(list(batches)) == 8


def test_leaving_early_reads_no_more(tmp_path, picture):
    before = threading.active_count()
    batches = iter(Loader(images(tmp_path, picture), ORDER, threads=2))
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_the_time_waited_is_told_apart_from_the_time_worked(tmp_path, picture, monkeypatch):
    clock = itertools.count(1)  # each reading of the clock takes a second
    monkeypatch.setattr(loader_module, "perf_counter", lambda: float(next(clock)))
    loader = Loader(images(tmp_path, picture), ORDER)
    assert (loader.wait_s, loader.wait_share) == (0.0, 0.0)
    for _ in loader:
        next(clock)  # the caller works for a second
    # Three waits of a second each, from 1 to 11.
    assert loader.wait_s == 3.0
    assert loader.wait_share == pytest.approx(0.3)


def test_an_image_that_cannot_be_read_ends_the_pass(tmp_path, picture):
    data = images(tmp_path, picture)
    data.samples[4].path.write_text("no image")
    with pytest.raises(ImageError, match=r"4\.png"):
        list(Loader(data, ORDER))


def test_what_is_kept_in_memory_is_read_once(tmp_path, picture):
    data = images(tmp_path, picture)
    first = [batch.clone() for batch in Loader(data, ORDER)]
    for sample in data.samples:
        sample.path.unlink()
    again = list(Loader(data, ORDER))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
