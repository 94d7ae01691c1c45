"""Fitting memories: out of fold, duplicates together, from training images alone."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from model.checkpoints.checkpoint import CheckpointStore
from model.dataset import good_parts
from model.inspection import ImageSize
from model.network import MambaAD
from model.runtimes.torch import open_checkpoint, torch_detector
from model.scoring.baselines import to_arrays
from model.scoring.scores import Scoring
from model.scoring.whitening import partial_whitening
from model.training import Run, memories, read_training_data, train
from model.training.dealing import deal
from model.training.memories import fit_memory, mirrors_of
from tests.tiny import CONFIG, PREPROCESSING, TINY, Recorder, recipe, write_images

SCORING = Scoring(memory=2000, sigma=2.0)


def silent(_stage):
    pass


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MambaAD(TINY)


def detector_of(network, scoring=SCORING, **changes):
    return torch_detector(network, replace(PREPROCESSING, **changes), scoring, {})


def smooth(number, size=(64, 64)):
    """Return a picture unlike those of other numbers, which JPEG hardly changes."""
    coarse = np.random.default_rng(number).integers(0, 256, (32, 32), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert("RGB")


def write(folder, count, size=(64, 64)):
    folder.mkdir(parents=True)
    for number in range(count):
        smooth(number, size).save(folder / f"{number:02}.png")
    return folder


def fit(detector, samples, network, say=silent, mirrors=()):
    return fit_memory(detector, samples, network.feature_shapes, say, mirrors)


def test_images_that_are_alike_share_a_fold(tmp_path):
    folder = write(tmp_path / "good", 12)
    for number in range(4):
        smooth(number).save(folder / f"{number:02}-copy.png")
        smooth(number).save(folder / f"{number:02}-again.jpg", quality=95)
    samples = good_parts(folder, "bolt")
    folds = deal(samples)
    places = defaultdict(set)
    for sample, fold in zip(samples, folds, strict=True):
        places[sample.path.name[:2]].add(fold)
    assert all(len(place) == 1 for place in places.values())
    assert sorted(set(folds)) == [0, 1, 2, 3, 4]
    assert max(map(folds.count, set(folds))) <= 5
    assert deal(samples) == folds


def test_few_images_have_few_folds(tmp_path):
    samples = good_parts(write(tmp_path / "good", 3), "bolt")
    assert sorted(deal(samples)) == [0, 1, 2]
    assert deal(samples[:1]) == [0]


def test_the_scale_is_of_images_that_the_memory_has_not_seen(tmp_path, network):
    """Every patch is remembered, so brute force finds the same distances."""
    samples = good_parts(write(tmp_path / "good", 7), "bolt")
    detector, folds = detector_of(network), np.array(deal(samples))
    fused = fit(detector, samples, network)
    assert len(fused.memory.patches) == 7 * 64
    images = np.stack([np.asarray(Image.open(s.path)).transpose(2, 0, 1) for s in samples])
    rows = detector.compare(images)
    patches = rows[:, 64 * 64 :].reshape(7, -1, 64)
    channels = patches.shape[1]
    assert channels == fused.memory.channels
    places = patches.transpose(0, 2, 1).astype(np.float64)
    maps = []
    for number, fold in enumerate(folds):
        others = places[folds != fold].reshape(-1, channels)
        transform = partial_whitening(others.astype(np.float32)).T.astype(float)
        ours, theirs = places[number] @ transform, others @ transform
        apart = np.linalg.norm(ours[:, None] - theirs[None], axis=2).min(axis=1)
        maps.append(fused.memory.stretch(apart.astype(np.float32).reshape(8, 8)))
    expected = [np.quantile(rows[:, : 64 * 64], [0.5, 0.995]), np.quantile(maps, [0.5, 0.995])]
    np.testing.assert_allclose(fused.scale, expected, rtol=1e-3)
    seen = fused.memory.maps(rows[:, 64 * 64 :])
    assert np.quantile(seen, 0.995) < 0.1 * fused.scale[1, 1]


@pytest.mark.parametrize(
    "scoring",
    [replace(SCORING, standardise=True), replace(SCORING, distance="mahalanobis", memory=20)],
)
def test_the_decoders_baseline_is_out_of_fold_too(tmp_path, network, scoring):
    samples = good_parts(write(tmp_path / "good", 12), "bolt")
    detector = detector_of(network, scoring)
    fused = fit(detector, samples, network)
    images = np.stack([np.asarray(Image.open(s.path)).transpose(2, 0, 1) for s in samples])
    compared = detector.compare(images)[:, : -fused.memory.features]
    if scoring.standardise:
        compared = compared.reshape(-1, 64, 64)
    seen = np.quantile(fused.decoder.standardise(compared), 0.995)
    assert fused.scale[0, 1] > 1.05 * seen


def test_few_patches_are_remembered_and_the_same_ones_each_time(tmp_path, network, monkeypatch):
    samples = good_parts(write(tmp_path / "good", 6), "bolt")
    detector = detector_of(network, replace(SCORING, memory=25))
    monkeypatch.setattr(memories, "CANDIDATES", 120)
    monkeypatch.setattr(memories, "_KEPT_BYTES", 1)
    stages = []
    first, second = fit(detector, samples, network, stages.append), fit(detector, samples, network)
    assert len(first.memory.patches) == 25
    assert (first.memory.patches == second.memory.patches).all()
    assert (first.scale == second.scale).all()
    assert stages[0] == "bolt: memory of 6 images"
    assert stages[-1] == "bolt: scale of the memory, fold 5 of 5"


def test_patches_are_computed_without_the_decoder(tmp_path, network):
    samples = good_parts(write(tmp_path / "good", 5), "bolt")
    images = np.stack([np.asarray(Image.open(s.path)).transpose(2, 0, 1) for s in samples])
    detector = detector_of(network)
    calls = []
    decoder = detector.engine._prepared.decoder
    hook = decoder.register_forward_pre_hook(lambda *_: calls.append(1))
    rows = detector.compare(images)
    assert calls
    calls.clear()
    patches = detector.patches(images)
    hook.remove()
    assert not calls
    np.testing.assert_array_equal(patches, rows[:, 64 * 64 :])


def test_other_engines_compute_the_decoder_for_patches(tmp_path, network):
    samples = good_parts(write(tmp_path / "good", 2), "bolt")
    images = np.stack([np.asarray(Image.open(s.path)).transpose(2, 0, 1) for s in samples])
    detector = detector_of(network)
    expected = detector.compare(images)
    detector.engine = Plain(detector.engine)
    np.testing.assert_array_equal(detector.patches(images), expected)


class Plain:
    """An engine that has only what every engine has."""

    def __init__(self, engine):
        self.device, self.nbytes, self.compare = engine.device, engine.nbytes, engine.compare


def test_few_images_are_remembered_mirrored_too(tmp_path, network, monkeypatch):
    samples = good_parts(write(tmp_path / "good", 5), "bolt")
    scoring = replace(SCORING, distance="mahalanobis")
    detector = detector_of(network, scoring)
    mirrors = mirrors_of(hflip=True, vflip=True)
    assert mirrors == [(3,), (2,), (2, 3)]
    both = fit(detector, samples, network, mirrors=mirrors)
    alone = fit(detector, samples, network)
    assert len(both.memory.patches) == 4 * len(alone.memory.patches) == 4 * 5 * 64
    images = np.stack([np.asarray(Image.open(s.path)).transpose(2, 0, 1) for s in samples])
    for axes in mirrors:
        patches = detector.compare(np.flip(images, axes))[:, -both.memory.features :]
        assert both.memory.maps(patches).max() < 0.1 * alone.memory.maps(patches).max()
    texture = fit(detector_of(network), samples, network, mirrors=mirrors)
    assert len(texture.memory.patches) == 5 * 64
    monkeypatch.setattr(memories, "MIRRORED", 4)
    assert len(fit(detector, samples, network, mirrors=mirrors).memory.patches) == 5 * 64


def test_mirrored_images_stay_in_the_fold_of_their_image(tmp_path, network):
    """All images are symmetric: each would be found in a memory that has it mirrored."""
    folder = tmp_path / "good"
    folder.mkdir()
    for number in range(6):
        pixels = np.asarray(smooth(number))
        Image.fromarray(np.maximum(pixels, pixels[:, ::-1])).save(folder / f"{number}.png")
    samples = good_parts(folder, "bolt")
    detector = detector_of(network, replace(SCORING, distance="mahalanobis"))
    mirrored = fit(detector, samples, network, mirrors=[(3,)])
    alone = fit(detector, samples, network)
    assert mirrored.scale[1, 1] > 0.8 * alone.scale[1, 1]


@pytest.mark.parametrize(("hflip", "vflip"), [(True, False), (False, True), (False, False)])
def test_only_what_training_mirrors_is_remembered_mirrored(hflip, vflip):
    assert mirrors_of(hflip=hflip, vflip=vflip) == ([(3,)] * hflip) + ([(2,)] * vflip)


def test_one_image_is_scored_by_its_halves(tmp_path, network, caplog):
    folder = write(tmp_path / "good", 1)
    fused = fit(detector_of(network), good_parts(folder, "bolt"), network)
    assert "halves of a single good image" in caplog.text
    assert len(fused.memory.patches) == 64
    smooth(0).save(folder / "copy.png")
    twice = fit(detector_of(network), good_parts(folder, "bolt"), network)
    assert twice.scale[1] == pytest.approx(fused.scale[1], rel=1e-2)


@pytest.mark.parametrize(
    ("scoring", "scale"),
    [
        (replace(SCORING, standardise=True), [0, 3]),
        (replace(SCORING, distance="mahalanobis"), [1, 2]),
    ],
)
def test_two_images_are_too_few_to_measure_a_baseline_of_places(
    tmp_path, network, scoring, scale, caplog
):
    samples = good_parts(write(tmp_path / "good", 2), "bolt")
    fused = fit(detector_of(network, scoring), samples, network)
    assert fused.scale[0].tolist() == scale
    assert "too few different good images" in caplog.text


def test_tiles_are_measured_by_the_memory_of_their_image(tmp_path, network):
    samples = [
        *good_parts(write(tmp_path / "bolt", 5, (150, 64)), "bolt"),
        *good_parts(write(tmp_path / "nut", 3, (64, 100)), "nut"),
    ]
    detector = detector_of(network, resize="tile")
    for category in ("bolt", "nut"):
        of_category = [sample for sample in samples if sample.category == category]
        detector.baselines[category] = fit(detector, of_category, network)
    assert len(detector.baselines["nut"].memory.patches) == 3 * 2 * 64
    images = [Image.open(samples[0].path), Image.open(samples[-1].path)]
    inputs = [detector.preprocessing.to_arrays(image) for image in images]
    frames = [detector.preprocessing.frame(image_size(image)) for image in images]
    maps = detector.image_maps(
        np.concatenate(inputs), ["bolt", "nut"], [image_size(image) for image in images]
    )
    for tiles, frame, category, values in zip(inputs, frames, ("bolt", "nut"), maps, strict=True):
        alone = detector.baselines[category].standardise(detector.compare(tiles))
        np.testing.assert_allclose(values, frame.assemble(alone), atol=1e-5)
    assert [values.shape for values in maps] == [(64, 150), (100, 64)]


def image_size(image):
    return ImageSize(image.height, image.width)


def test_held_out_images_set_thresholds_and_nothing_else(tmp_path):
    """Train twice on the same images with others held out."""
    scoring = Scoring(memory=30, distance="mahalanobis", scale_weights=(0.0, 1.0, 1.0))
    write_images(tmp_path / "bolt/train/good", 6)
    saved, store = [], CheckpointStore(tmp_path / "weights")
    for seed in (1, 2):
        held_out = tmp_path / f"held-{seed}"
        write_images(held_out, 3, seed)
        data = read_training_data(tmp_path, ["bolt"], held_out, 0.2, 0)
        run = Run(
            name="bolt", folder=tmp_path / "run", store=store, restart=True,
            recipe=recipe(tmp_path, replace(CONFIG, epochs=1), scoring=scoring),
        )  # fmt: skip
        monitor = Stages()
        saved.append(train(run, data, monitor=monitor))
        assert monitor.stages[0] == "bolt: memory of 6 images"
    first, second = (to_arrays(checkpoint.baselines) for checkpoint in saved)
    assert first.keys() == second.keys() >= {"patches/bolt", "scale/bolt", "mean_0/bolt"}
    assert all((first[name] == second[name]).all() for name in first)
    assert saved[0].calibrations["bolt"] != saved[1].calibrations["bolt"]
    restored = store.load("bolt", saved[0].version)
    patches = restored.baselines["bolt"].memory.patches
    described = restored.manifest.training["memory"]
    assert described == {"bolt": {"patches": 30, "bytes": patches.nbytes}}
    detector = open_checkpoint(restored)
    golden = restored.golden["bolt"]
    scores = detector.raw_scores(golden.images, ["bolt"] * len(golden.images))
    assert scores == pytest.approx(golden.raw_scores, abs=golden.tolerance)


class Stages(Recorder):
    def __init__(self):
        super().__init__()
        self.stages = []

    def stage(self, name):
        self.stages.append(name)
