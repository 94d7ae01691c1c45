"""Scores of drawn defects equal those of the whole drawn image, tiled or not."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from model.cli import app
from model.dataset import Sample
from model.images.areas import Area
from model.inference.detector import Detector
from model.inspection import ImageSize
from model.scoring.scores import Scoring
from model.synthetic import Kind, Strength
from model.training.advice.defects import draw_inside
from model.training.advice.methods import Network
from model.training.advice.observing import ROUNDS, CheckStopped, Observation
from model.training.advice.pictures import PartPictures
from model.training.advice.time_limit import LEAST_S, MOST_S, TimeLimit, allowed_s
from tests.tiny import PREPROCESSING

AREA = Area(include=[[[0.0, 0.0], [0.6, 0.0], [0.6, 1.0], [0.0, 1.0]]])
FRAMES = {
    "stretch": {},
    "letterbox": {"resize": "letterbox"},
    "tile": {"resize": "tile", "tile_overlap": 0.5},
}


class Edges:
    """An engine whose map is how much neighbouring pixels differ; counts the images."""

    device, library, precision, nbytes = "cpu", "torch", "float32", 0

    def __init__(self):
        self.images = 0

    def compare(self, images, lap):
        self.images += len(images)
        grey = images.astype(np.float32).mean(axis=1)
        return np.abs(np.diff(grey, axis=2, append=grey[:, :, -1:]))

    def answers(self):
        return True

    def release(self):
        pass


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    samples = []
    for number in range(3):
        coarse = np.random.default_rng(number).integers(90, 150, (24, 40, 3), np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(coarse.repeat(4, axis=0).repeat(4, axis=1)).save(path)
        samples.append(Sample(path, "bolt", "good"))
    return samples


def observation(parts, frame="stretch", area=None, **fields):
    rule = replace(PREPROCESSING, **FRAMES[frame])
    areas = {"bolt": area} if area else {}
    detector = Detector(Edges(), rule, Scoring(), {}, areas=areas)
    pictures = PartPictures(parts, rule, detector.areas)
    return Observation(detector, "bolt", [Network(detector, "bolt")], pictures, 5, **fields)


@pytest.mark.parametrize("area", [None, AREA])
@pytest.mark.parametrize("frame", FRAMES)
def test_scores_are_those_of_the_detector_on_the_whole_drawn_image(parts, frame, area):
    watched = observation(parts, frame, area)
    scores = watched.observe(TimeLimit(600), 1, 9, 0)
    detector, size = watched.detector, [ImageSize(96, 160)]
    for number, score in enumerate(scores.good["MambaAD"]):
        image = Image.open(parts[number].path)
        (values,) = detector.image_maps(detector.preprocessing.to_arrays(image), ["bolt"], size)
        assert score == detector.raw_score(values, "bolt")
    assert len(scores.drawn) == len(Kind) * len(Strength)
    assert scores.undrawable == ()
    for drawn in scores.drawn:
        part = watched.pictures[drawn.part]
        pictures = draw_inside(part.pixels, part.inside, Kind(drawn.kind), (5, 0, drawn.part))
        inputs = part.inputs(pictures[Strength(drawn.strength)])
        (values,) = detector.image_maps(inputs, ["bolt"], size)
        assert drawn.scores == {"MambaAD": detector.raw_score(values, "bolt")}
    assert {d.part for d in scores.drawn} == (
        {0, 1, 2} if frame != "tile" else {scores.drawn[0].part}
    )


def test_unchanged_tiles_are_computed_once(parts):
    watched = observation(parts, "tile")
    scores = watched.observe(TimeLimit(600), 1, 9, 0)
    tiles = watched.pictures[0].frame.inputs
    most = (len(parts) + 1 + len(scores.drawn)) * tiles
    assert watched.detector.engine.images < 0.7 * most


def test_a_training_and_advise_draw_the_same_rounds():
    (rounds,) = [o for o in get_command(app).commands["advise"].params if o.name == "rounds"]
    assert rounds.default == ROUNDS


def test_a_check_without_time_still_draws_a_round_and_one_with_time_draws_all(parts):
    defects = len(Kind) * len(Strength)
    assert len(observation(parts).observe(TimeLimit(0), 3, 9, 0).drawn) == defects
    first, again = (observation(parts).observe(TimeLimit(600), 3, 9, 0) for _ in range(2))
    assert len(first.drawn) == 3 * defects
    assert first == again


def test_a_stopped_check_ends_between_two_images(parts):
    with pytest.raises(CheckStopped):
        observation(parts, stop=lambda: True).observe(TimeLimit(600), 1, 9, 0)


def test_a_kind_that_is_not_visible_is_named_and_left_out(tmp_path):
    path = tmp_path / "blank.png"
    Image.new("RGB", (64, 64), (120, 120, 120)).save(path)
    scores = observation([Sample(path, "bolt", "good")]).observe(TimeLimit(600), 2, 9, 0)
    assert "smear" in scores.undrawable
    assert {d.kind for d in scores.drawn} == set(Kind) - set(scores.undrawable)


@pytest.mark.parametrize(("training_s", "seconds"), [(20, LEAST_S), (1800, 180), (10**6, MOST_S)])
def test_the_time_is_a_tenth_of_the_trainings_or_a_minute_but_has_an_end(training_s, seconds):
    assert allowed_s(training_s) == seconds
