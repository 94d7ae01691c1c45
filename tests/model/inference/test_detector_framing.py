"""The detector on images of every shape, with an engine whose map is the image."""

import numpy as np
import pytest
from PIL import Image

from model.calibration.calibration import Calibration
from model.dataset import Sample, inspection_batches
from model.errors import ConfigError, ImageError, NonFiniteOutput
from model.images.areas import Area
from model.images.preprocess import Preprocessing
from model.inference.detector import Detector
from model.inspection import Decision, ImageSize
from model.scoring.map_baseline import Baseline
from model.scoring.scores import Scoring
from model.training.thresholds import calibrate

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


class Mirror:
    """Answers with the first channel, 0 to 1."""

    device = "cpu"
    library = "torch"
    precision = "float32"
    nbytes = 0

    def __init__(self):
        self.batches = []

    def compare(self, images, lap):
        self.batches.append(len(images))
        for stage in ("encoder", "decoder", "anomaly_map"):
            lap(stage)
        return images[:, 0].astype(np.float32) / 255

    def answers(self):
        return True

    def release(self):
        pass


def detector(resize, area=None, scoring=None, **options):
    preprocessing = Preprocessing(
        image_size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3, resize=resize, **options
    )
    calibration = Calibration(0.5, 0.5, 1.0, 1.0, 0.01, 100)
    areas = {"bolt": area} if area else None
    scoring = scoring or Scoring()
    return Detector(Mirror(), preprocessing, scoring, {"bolt": calibration}, areas=areas)


def part(size, *spots):
    """A dark part of size (height, width), with bright squares of 10 pixels at (x, y)."""
    pixels = np.full(size, 40, np.uint8)
    for x, y in spots:
        pixels[y : y + 10, x : x + 10] = 250
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [(64, 64), (200, 60), (60, 200), (150, 170), (20, 30)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "tile"])
def test_a_spot_is_found_where_it_is_in_the_image(resize, size):
    height, width = size
    x, y = width - 14, height // 2 - 5
    (inspection,) = detector(resize).inspect_images([part(size, (x, y))], "bolt")
    assert inspection.decision is Decision.NG
    assert inspection.anomaly_map.image_size == ImageSize(height, width)
    (region,) = inspection.regions
    pixel = max(1, height / 64, width / 64)
    left, top, across, down = region.box
    assert abs(left - x) <= pixel
    assert abs(top - y) <= pixel
    assert abs(left + across - (x + 10)) <= pixel
    assert abs(top + down - (y + 10)) <= pixel
    assert x <= region.peak[0] < x + 10
    assert y <= region.peak[1] < y + 10


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "tile"])
def test_a_batch_of_images_of_many_sizes_is_taken_apart_again(resize):
    sizes = [(64, 64), (200, 60), (30, 200), (64, 64)]
    spotless = detector(resize)
    parts = [part(size, *([(5, 5)] if n == 1 else [])) for n, size in enumerate(sizes)]
    inspections = spotless.inspect_images(parts, "bolt")
    assert [inspection.decision for inspection in inspections] == ["OK", "NG", "OK", "OK"]
    maps = [inspection.anomaly_map.values.shape for inspection in inspections]
    frames = [spotless.preprocessing.frame(ImageSize(*size)) for size in sizes]
    assert maps == [(f.map_size.height, f.map_size.width) for f in frames]
    assert inspections[0].timings_ms.keys() == {"encoder", "decoder", "anomaly_map", "decision"}


def test_tiles_find_what_is_lost_when_the_image_is_shrunk():
    image = part((640, 640))
    image.paste(250, (301, 333, 305, 337))
    assert detector("stretch").inspect_images([image], "bolt")[0].decision is Decision.OK
    tiled = detector("tile").inspect_images([image], "bolt")[0]
    assert tiled.decision is Decision.NG
    assert tiled.regions[0].box == (301, 333, 4, 4)


def test_many_tiles_are_computed_in_batches():
    tiled = detector("tile")
    tiled.inspect_images([part((400, 400))], "bolt")
    frame = tiled.preprocessing.frame(ImageSize(400, 400))
    assert sum(tiled.engine.batches) == frame.inputs > 16
    assert max(tiled.engine.batches) == 16


def test_inputs_that_do_not_fit_the_sizes_are_refused():
    images = np.zeros((2, 3, 64, 64), np.uint8)
    with pytest.raises(ImageError, match="need 4 inputs, got 2"):
        detector("tile").inspect(images, ["bolt"], [ImageSize(112, 112)])
    with pytest.raises(ImageError, match="need 1 inputs, got 2"):
        detector("stretch").inspect(images, ["bolt"], [ImageSize(112, 112)])


def test_one_bad_tile_fails_its_image_alone():
    tiled = detector("tile")
    plain = tiled.engine.compare

    def broken(images, lap):
        maps = plain(images, lap)
        maps[1] = np.nan
        return maps

    tiled.engine.compare = broken
    images = np.zeros((3, 3, 64, 64), np.uint8)
    sizes = [ImageSize(64, 112), ImageSize(64, 64)]
    outcomes = tiled.attempt(images, ["bolt"] * 2, sizes)
    assert isinstance(outcomes[0], NonFiniteOutput)
    assert outcomes[1].decision is Decision.OK
    with pytest.raises(NonFiniteOutput):
        tiled.image_maps(images, ["bolt"] * 2, sizes)


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "tile"])
def test_what_lies_outside_the_area_never_counts(resize):
    watched = detector(resize, Area(include=(LEFT,)))
    outside, both = watched.inspect_images(
        [part((80, 160), (120, 20)), part((80, 160), (120, 20), (30, 20))], "bolt"
    )
    assert outside.decision is Decision.OK
    assert outside.raw_score == pytest.approx(40 / 255, abs=0.01)
    assert outside.regions == ()
    assert both.decision is Decision.NG
    assert [region.box[0] < 80 for region in both.regions] == [True]
    half = both.anomaly_map.values.shape[1] // 2
    assert both.anomaly_map.values[:, half:].max() <= 0.5


def test_a_region_does_not_run_out_of_the_area_even_where_all_of_it_is_bad():
    watched = detector("stretch", Area(include=(LEFT,)))
    (inspection,) = watched.inspect_images([Image.new("L", (64, 64), 250)], "bolt")
    (region,) = inspection.regions
    assert region.box == (0, 0, 32, 64)


def test_the_share_of_pixels_that_a_score_is_made_of_is_one_of_those_that_count():
    scoring = Scoring(statistic="top_mean", top_fraction=0.5)
    image = Image.fromarray(np.repeat(np.array([[0, 100, 200, 250]], np.uint8), 4, axis=0))
    image = image.resize((64, 64), Image.Resampling.NEAREST)
    without_area = detector("stretch", None, scoring).inspect_images([image], "bolt")[0]
    left = detector("stretch", Area(include=(LEFT,)), scoring).inspect_images([image], "bolt")[0]
    assert without_area.raw_score == pytest.approx(225 / 255, abs=0.01)
    assert left.raw_score == pytest.approx(100 / 255, abs=0.01)


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "tile"])
def test_thresholds_are_set_from_what_counts(tmp_path, resize):
    samples = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        part((80, 160), (120, 20)).point(lambda level, n=number: level - n).save(path)
        samples.append(Sample(path, "bolt", "good"))
    watched = detector(resize, Area(include=(LEFT,)))
    calibrated = calibrate(watched, watched.scoring, samples, 0.2, batch_size=2)["bolt"]
    assert calibrated.image_threshold < 0.3
    assert calibrated.pixel_threshold < 0.3
    unrestricted = detector(resize)
    assert calibrate(unrestricted, unrestricted.scoring, samples, 0.2)["bolt"].image_threshold > 0.9


def test_a_letterbox_is_standardised_before_its_border_is_cut_off():
    level = np.linspace(0, 0.5, 64, dtype=np.float32)
    usual = np.tile(level, (64, 1))
    letterbox = detector("letterbox", scoring=Scoring(standardise=True))
    letterbox.baselines = {"bolt": Baseline(usual, np.full((64, 64), 0.5, np.float32))}
    frame = letterbox.preprocessing.frame(ImageSize(64, 32))
    (image_map,) = letterbox.image_maps(
        np.zeros((1, 3, 64, 64), np.uint8), ["bolt"], [ImageSize(64, 32)]
    )
    np.testing.assert_allclose(image_map, frame.assemble(-usual[None] / 0.5), rtol=1e-6)


def test_tiles_have_no_baseline():
    with pytest.raises(ConfigError, match="tiles do not have"):
        detector("tile", scoring=Scoring(standardise=True))


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_batches_for_the_detector_hold_every_image_in_order(tmp_path, batch_size):
    tiled = detector("tile")
    samples = []
    for number in range(7):
        path = tmp_path / f"{number}.png"
        part((64, 64 + 30 * number)).save(path)
        samples.append(Sample(path, f"part{number}", "good"))
    batches = list(inspection_batches(samples, tiled.preprocessing, batch_size))
    assert [s for batch in batches for s in batch.samples] == samples
    assert [c for batch in batches for c in batch.categories] == [s.category for s in samples]
    sizes = [size for batch in batches for size in batch.image_sizes]
    assert sizes == [ImageSize(64, 64 + 30 * number) for number in range(7)]
    inputs = [tiled.preprocessing.frame(size).inputs for size in sizes]
    assert sum(len(batch.images) for batch in batches) == sum(inputs) > 7
    samples[3].path.write_text("no image")
    with pytest.raises(ImageError, match=r"3\.png"):
        list(inspection_batches(samples, tiled.preprocessing, batch_size))
