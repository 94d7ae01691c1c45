"""Train or fit the methods on a set's images, and score its test images.

All methods get the same training images, thresholds from the same held-out ones, and the same
encoder. PaDiM and PatchCore share one pass of the encoder; the network computes its own, because
its time is measured as the product needs it.
"""

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.quality.results import Result, ScoredImages
from benchmarks.quality.sets import QualitySet
from model.benchmark import device_name, versions
from model.calibration.conformal import conformal_quantile
from model.checkpoints.checkpoint import CheckpointStore
from model.dataset import Sample, inspection_batches, read_dataset, read_mask
from model.evaluation.measuring import with_pixel_truth
from model.evaluation.timing import inspection_ms, timed_ms
from model.inference.detector import Detector
from model.inspection import Category
from model.metrics import MapSpill
from model.metrics import measure as measure_pixels
from model.metrics.resampling import RESAMPLINGS, pixel_replicates
from model.network import Encoder
from model.network.encoder import load_encoder_weights
from model.rivals import Features, Padim, PatchCore, score_maps, spread
from model.runtimes.torch import open_checkpoint
from model.training import Recipe, Run, TrainingData, read_training_data, train
from model.training.choice import choose, observe, rules
from model.training.choice.choosing import base_values
from model.training.data import find_good_images
from model.training.recipe.recipe import merge, read_recipe

NETWORK, PADIM, PATCHCORE = "MambaAD", "PaDiM", "PatchCore"
METHODS = (NETWORK, PADIM, PATCHCORE)
CALIBRATED = "calibrated"
AUTO = "auto"
ALPHA = 0.01
_BATCH = 8
_TIMED = 9

Maps = Iterator[np.ndarray]
Scorer = Callable[[np.ndarray], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Material:
    """A set's images on disk, the recipe, and a folder for the run."""

    data: TrainingData
    test: tuple[Sample, ...]
    recipe: Recipe
    folder: Path
    identity: dict[str, Any]

    def of(self, category: Category) -> tuple[list[Sample], list[Sample], list[Sample]]:
        """Return a category's images for training, thresholds and tests."""
        parts = (self.data.train, self.data.held_out, self.test)
        train_part, held_out, test = ([s for s in p if s.category == category] for p in parts)
        return train_part, held_out, test


def choose_recipe(a_set: QualitySet, seed: int, base: str, root: Path) -> Recipe:
    """Return the recipe for a set whose images are in `root`, with the seed and alpha.

    `AUTO` chooses as `mambaad train` does, but holds images out of few ones, too, because the
    baselines need them for their thresholds; another `base` only gets the set's shape.
    """
    fixed = {"training": {"seed": seed, "alpha": ALPHA}}
    if base == AUTO:
        given = merge(fixed, {"training": {"folds": 0}})
        found = find_good_images(root, None).look_for_duplicates()
        return choose(observe(found, given, device="cpu"), given).recipe
    height, width = a_set.shape
    network = {"image_size": f"{height}x{width}"}
    return Recipe.from_values(merge(read_recipe(base), merge(fixed, {"network": network})))


def describe_recipe(base: str) -> dict[str, Any]:
    """Return everything that determines the recipe of a set and seed."""
    if base != AUTO:
        return {"base": read_recipe(base), "alpha": ALPHA}
    constants = {
        name: value for name, value in vars(rules).items() if name.isupper() and name != "RULES"
    }
    return {"base": base_values("cpu"), "rules": repr(sorted(constants.items())), "alpha": ALPHA}


def read_material(root: Path, recipe: Recipe, folder: Path, identity: dict[str, Any]) -> Material:
    """Read a set's images as `mambaad train` does."""
    config = recipe.training
    data = read_training_data(root, None, None, config.held_out_fraction, config.seed)
    return Material(data, tuple(read_dataset(root, None).test), recipe, folder, identity)


def measure_network(material: Material) -> Result:
    """Train the network by the recipe and score the test images as the product does."""
    store = CheckpointStore(material.folder / "weights")
    run = Run(
        name="quality",
        folder=material.folder / "run",
        store=store,
        recipe=material.recipe,
        restart=True,
    )
    started = time.perf_counter()
    checkpoint = train(run, material.data)
    train_s = time.perf_counter() - started
    assert checkpoint is not None
    detector = open_checkpoint(checkpoint)
    categories = {}
    for category, calibration in checkpoint.calibrations.items():
        *_, test = material.of(category)
        thresholds = {CALIBRATED: calibration.image_threshold}
        maps = _network_maps(detector, test)

        def scorer(values: np.ndarray, category: Category = category) -> Mapping[str, float]:
            return {CALIBRATED: detector.raw_score(values, category)}

        categories[category] = _test(material, test, maps, scorer, thresholds)
    timed = inspection_ms(detector, material.test[:_TIMED])
    return _result(material, NETWORK, categories, train_s, timed)


def measure_baselines(material: Material) -> list[Result]:
    """Fit PaDiM and PatchCore on the training images, and score the test images."""
    encoder = Encoder(material.recipe.network.encoder)
    load_encoder_weights(encoder, material.recipe.encoder_weights)
    size = material.recipe.network.image_size
    preprocessing = material.recipe.images.preprocessing(size, encoder.mean, encoder.std)
    features = Features(encoder, preprocessing)
    tested: dict[str, dict[Category, ScoredImages]] = {PADIM: {}, PATCHCORE: {}}
    seconds, timed = dict.fromkeys(tested, 0.0), dict.fromkeys(tested, 0.0)
    for category in material.data.categories:
        train_part, held_out, test = material.of(category)
        started = time.perf_counter()
        known = _encode(features, train_part)
        encoded_s = time.perf_counter() - started
        scales = {"held_out": _encode(features, held_out), "test": _encode(features, test)}
        for method, by_category in tested.items():
            started = time.perf_counter()
            fitted = _fit(method, known, len(train_part), material.recipe.training.seed)
            seconds[method] += encoded_s + time.perf_counter() - started
            maps = {
                split: (spread(fitted.distances(batch), size) for batch in batches)
                for split, batches in scales.items()
            }
            thresholds = _thresholds(maps["held_out"])
            each = (values for batch in maps["test"] for values in batch)
            by_category[category] = _test(material, test, each, _score_map, thresholds)
            timed[method] = timed_ms(
                [_baseline_one(features, fitted, size, sample) for sample in test[:_TIMED]]
            )
    return [_result(material, m, tested[m], seconds[m], timed[m]) for m in tested]


def _fit(method: str, known: Sequence[list[Tensor]], images: int, seed: int) -> Padim | PatchCore:
    if method == PADIM:
        return Padim.fit(known, seed)
    return PatchCore.fit(known, images, seed)


def _encode(features: Features, samples: Sequence[Sample]) -> list[list[Tensor]]:
    batches = inspection_batches(samples, features.preprocessing, _BATCH)
    return [features.scales(batch.images) for batch in batches]


def _thresholds(maps: Iterator[np.ndarray]) -> dict[str, float]:
    """Return the conformal threshold of each way to score a map, from held-out good images."""
    scores = [score_maps(batch) for batch in maps]
    return {
        name: conformal_quantile(np.concatenate([part[name] for part in scores]), ALPHA)
        for name in scores[0]
    }


def _score_map(values: np.ndarray) -> dict[str, float]:
    return {name: float(score[0]) for name, score in score_maps(values[None]).items()}


def _network_maps(detector: Detector, samples: Sequence[Sample]) -> Maps:
    for batch in inspection_batches(samples, detector.preprocessing, _BATCH):
        yield from detector.image_maps(batch.images, batch.categories, batch.image_sizes)


def _test(
    material: Material,
    samples: Sequence[Sample],
    maps: Maps,
    scorer: Scorer,
    thresholds: dict[str, float],
) -> ScoredImages:
    size = material.recipe.network.image_size
    scores: dict[str, list[float]] = {name: [] for name in thresholds}
    masked = set(with_pixel_truth(samples))
    draws = _draws(material, samples)
    with MapSpill() as spill:
        for place, (sample, values) in enumerate(zip(samples, maps, strict=True)):
            for name, score in scorer(values).items():
                scores[name].append(score)
            if place in masked:
                spill.add(np.asarray(values, np.float32), read_mask(sample, size))
        exact = measure_pixels(spill)
        aupro, replicates = None, None
        if exact is not None:
            drawn = pixel_replicates(spill, exact, RESAMPLINGS, draws)["aupro"]
            aupro, replicates = exact.aupro, [round(float(value), 6) for value in drawn]
    defects = [sample.defect for sample in samples]
    return ScoredImages(draws, defects, scores, thresholds, aupro, replicates)


def _draws(material: Material, samples: Sequence[Sample]) -> int:
    """Return a seed that depends on the set's name and the test images' bytes alone."""
    seed = zlib.crc32(str(material.identity["set"]["name"]).encode())
    for sample in samples:
        seed = zlib.crc32(sample.path.read_bytes(), seed)
    return seed


def _baseline_one(
    features: Features, fitted: Padim | PatchCore, size: tuple[int, int], sample: Sample
) -> Callable[[], object]:
    images = next(inspection_batches([sample], features.preprocessing, 1)).images
    return lambda: score_maps(spread(fitted.distances(features.scales(images)), size))


def _result(
    material: Material,
    method: str,
    categories: dict[Category, ScoredImages],
    train_s: float,
    inspect_ms: float,
) -> Result:
    machine = {"device": "cpu", "device_name": device_name("cpu"), "versions": versions()}
    times = round(train_s, 2), round(inspect_ms, 2)
    return Result(material.identity, method, categories, *times, machine)
