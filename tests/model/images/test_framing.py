import numpy as np
import pytest
from PIL import Image

from model.images.framing import Frame, Framing, resampled
from model.images.preprocess import Preprocessing
from model.inspection import ImageSize

SIZES = [(1, 1), (7, 300), (64, 64), (65, 64), (100, 40), (200, 333), (513, 130)]


def framing(resize, tile=(64, 64), **options):
    return Framing(tile, resize, **options)


def gradient(size, axis):
    """A picture, and an engine's map for it: each pixel's place, 0 to 1."""
    height, width = size
    places = np.linspace(0, 1, size[axis], dtype=np.float32)
    values = np.tile(places, (height, 1)) if axis else np.tile(places[:, None], (1, width))
    return Image.fromarray(np.round(values * 255).astype(np.uint8))


def maps_of(frame, image):
    """The maps of an engine whose map is the first channel."""
    return frame.cut(frame.pixels(image))[:, 0].astype(np.float32) / 255


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "tile"])
def test_a_map_spans_its_image_edge_to_edge(resize, size):
    frame = framing(resize).frame(ImageSize(*size))
    for axis in (0, 1):
        image = gradient(size, axis)
        assembled = frame.assemble(maps_of(frame, image))
        assert assembled.shape == (frame.map_size.height, frame.map_size.width)
        expected = image.resize((assembled.shape[1], assembled.shape[0]), Image.Resampling.BILINEAR)
        assert np.abs(assembled - np.asarray(expected) / 255).max() < 0.01


def test_stretch_is_what_it_always_was():
    frame = framing("stretch", (32, 64)).frame(ImageSize(10, 20))
    assert (frame.inputs, frame.map_size) == (1, ImageSize(32, 64))
    image = gradient((10, 20), 1)
    plain = np.asarray(image.resize((64, 32), Image.Resampling.BILINEAR).convert("RGB"))
    assert np.array_equal(frame.pixels(image), plain.transpose(2, 0, 1))


def test_a_letterbox_keeps_the_shape_and_repeats_the_edge():
    frame = framing("letterbox").frame(ImageSize(100, 50))
    assert (frame.scaled, frame.origin, frame.map_size) == ((64, 32), (0, 16), ImageSize(64, 32))
    pixels = frame.pixels(gradient((100, 50), 1))
    assert pixels.shape == (3, 64, 64)
    assert np.all(pixels[:, :, :16] == pixels[:, :, 16:17])
    assert np.all(pixels[:, :, 48:] == pixels[:, :, 47:48])
    wide = framing("letterbox").frame(ImageSize(50, 100))
    assert (wide.scaled, wide.origin) == ((32, 64), (16, 0))


def test_the_border_of_a_letterbox_never_reaches_the_map():
    frame = framing("letterbox").frame(ImageSize(100, 50))
    maps = np.ones((1, 64, 64), np.float32)
    maps[:, :, 16:48] = 0
    assert frame.assemble(maps).max() == 0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_tiles_cover_everything_and_overlap_enough(size, overlap):
    frame = framing("tile", overlap=overlap).frame(ImageSize(*size))
    for starts, length, canvas in zip(
        (frame.rows, frame.columns), frame.scaled, frame.canvas, strict=True
    ):
        assert starts[0] == 0
        assert starts[-1] + 64 == canvas >= length
        steps = np.diff(starts)
        assert np.all((steps > 0) & (steps <= 64 * (1 - overlap)))
    assert (
        frame.inputs == len(frame.places) == len(frame.cut(np.zeros((3, *frame.canvas), np.uint8)))
    )


def test_no_more_tiles_are_cut_than_are_needed():
    assert framing("tile").frame(ImageSize(64, 64)).inputs == 1
    assert framing("tile").frame(ImageSize(64, 65)).columns == (0, 1)
    assert framing("tile").frame(ImageSize(20, 112)).columns == (0, 48)
    assert framing("tile", scale=0.5).frame(ImageSize(128, 128)).inputs == 1


def test_seams_vanish_where_tiles_disagree():
    frame = framing("tile").frame(ImageSize(64, 112))
    left, right = np.zeros((64, 64), np.float32), np.ones((64, 64), np.float32)
    row = frame.assemble(np.stack([left, right]))[30]
    assert row[:48].max() == 0
    assert row[64:].min() == 1
    rise = np.diff(row[47:65])
    assert np.all(rise > 0)
    assert rise.max() < 0.2


def test_maps_of_very_large_images_are_kept_smaller_and_keep_their_peaks():
    frame = framing("tile").frame(ImageSize(2100, 2101))
    assert (frame.reduction, frame.map_size) == (2, ImageSize(1050, 1051))
    maps = np.zeros((frame.inputs, 64, 64), np.float32)
    maps[0, 5, 9] = 1.0
    assembled = frame.assemble(maps)
    assert np.unravel_index(assembled.argmax(), assembled.shape) == (2, 4)
    assert assembled.max() == 1.0  # no other tile covers that corner


def test_the_blend_weighs_as_written_down():
    frame = Frame((4, 4), (4, 6), (4, 6), (0, 0), (0,), (0, 2))
    maps = np.random.default_rng(0).random((2, 4, 4), dtype=np.float32)
    ramp = np.array([0.25, 0.75, 0.75, 0.25])
    total, weight = np.zeros((4, 6)), np.zeros((4, 6))
    for values, left in zip(maps, (0, 2), strict=True):
        total[:, left : left + 4] += values * np.outer(ramp, ramp)
        weight[:, left : left + 4] += np.outer(ramp, ramp)
    np.testing.assert_allclose(frame.assemble(maps), total / weight, rtol=1e-6)


def test_preprocessing_frames_by_its_own_rule():
    tiled = Preprocessing(
        image_size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3, resize="tile", tile_overlap=0.5
    )
    image = gradient((64, 128), 1).convert("RGB")
    arrays = tiled.to_arrays(image)
    assert arrays.shape == (3, 3, 64, 64)
    assert np.array_equal(arrays[1], np.asarray(image).transpose(2, 0, 1)[:, :, 32:96])


def test_a_map_is_resampled_only_where_it_must_be():
    values = np.random.default_rng(0).random((4, 6), dtype=np.float32)
    assert resampled(values, (4, 6)) is values
    assert resampled(values, (8, 12)).shape == (8, 12)
