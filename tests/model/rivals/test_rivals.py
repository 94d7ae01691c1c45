import numpy as np
import pytest
import torch
from sklearn.covariance import OAS

from model.errors import CalibrationError
from model.rivals import Padim, PatchCore, patchcore, score_maps, spread
from model.rivals import padim as padim_module
from model.rivals.features import on_one_grid
from model.rivals.patchcore import farthest_first

SIZES = ((4, 16), (6, 8), (8, 4))
"""Channels and sides of three scales."""


def scales(images, seed=0, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(images, channels, side, side, generator=generator) + shift
        for channels, side in SIZES
    ]


def in_batches(features, size):
    count = len(features[0])
    return [[maps[i : i + size] for maps in features] for i in range(0, count, size)]


def places(features):
    """Features (P, B, C) in PaDiM's layout, by NumPy."""
    laid = on_one_grid(features, (8, 8)).numpy()
    return laid.reshape(*laid.shape[:2], -1).transpose(2, 0, 1).astype(np.float64)


@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_padim_is_mahalanobis_distance_under_scikit_learns_shrinkage(shift):
    good, new = scales(40, shift=shift), scales(3, seed=1, shift=shift)
    distances = Padim.fit(in_batches(good, 7)).distances(new).reshape(3, -1).numpy()
    for place in (0, 9, 63):
        oas = OAS().fit(places(good)[place])
        expected = np.sqrt(oas.mahalanobis(places(new)[place]))
        assert distances[:, place] == pytest.approx(expected, rel=2e-3)


def test_padim_keeps_as_many_channels_as_fit(monkeypatch):
    monkeypatch.setattr(padim_module, "MEMORY_BYTES", 4 * 64 * 10 * 10)
    good = scales(20)
    fitted = Padim.fit(in_batches(good, 5), seed=3)
    assert fitted.whitening.shape == (64, 10, 10)
    assert (fitted.channels == Padim.fit(in_batches(good, 5), seed=3).channels).all()
    assert (fitted.channels != Padim.fit(in_batches(good, 5), seed=4).channels).any()
    assert fitted.distances(scales(2)).shape == (2, 8, 8)


def test_features_that_never_vary_are_no_error():
    same = [maps[:1].expand(5, -1, -1, -1) for maps in scales(1)]
    assert torch.isfinite(Padim.fit([same]).distances(scales(2, seed=1))).all()


def test_what_is_out_of_place_stands_out_there():
    good, new = scales(60), scales(1, seed=1)
    for maps, step in zip(new, (2, 1, 0.5), strict=True):
        maps[:, :, int(5 * step), int(2 * step)] += 8
    for rival in (Padim.fit(in_batches(good, 8)), PatchCore.fit(in_batches(good, 8), 60)):
        row, column = divmod(int(rival.distances(new)[0].argmax()), 8)
        # The coarse cell covers rows 4 and 5, columns 2 and 3; smoothing adds one on each side.
        assert 3 <= row <= 6
        assert 1 <= column <= 4


def test_farthest_first_agrees_with_its_literal_definition():
    points = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    chosen = farthest_first(points, 12).tolist()
    apart = torch.cdist(points.double(), points.double()).numpy()
    expected = [int(np.argmax(np.linalg.norm(points - points.mean(0), axis=1)))]
    while len(expected) < 12:
        expected.append(int(np.argmax(apart[expected].min(axis=0))))
    assert chosen == expected


def test_patchcore_measures_to_the_nearest_patch_remembered(monkeypatch):
    monkeypatch.setattr(patchcore, "CORESET_SHARE", 1.0)
    good, new = scales(6), scales(2, seed=1)
    every = PatchCore.fit(in_batches(good, 4), 6)
    assert every.patches.shape == (6 * 64, 14)
    smooth = [torch.nn.functional.avg_pool2d(m, 3, 1, 1) for m in new[1:]]
    patches = on_one_grid(smooth, (8, 8)).flatten(2).transpose(1, 2)
    expected = torch.cdist(patches.double(), every.patches.double()).amin(dim=2)
    assert every.distances(new).reshape(2, -1) == pytest.approx(expected.float(), abs=1e-4)
    assert every.distances(good) == pytest.approx(torch.zeros(6, 8, 8), abs=2e-3)


def test_patchcore_remembers_a_share_and_never_more_than_its_most(monkeypatch):
    good = scales(10)
    heard = []
    fitted = PatchCore.fit(in_batches(good, 4), 10, advance=heard.append)
    assert len(fitted.patches) == 64
    assert sum(heard) == 100
    assert (PatchCore.fit(in_batches(good, 4), 10).patches == fitted.patches).all()
    monkeypatch.setattr(patchcore, "LARGEST_CORESET", 20)
    assert len(PatchCore.fit(in_batches(good, 4), 10).patches) == 20
    monkeypatch.setattr(patchcore, "CANDIDATES", 50)
    assert len(PatchCore.fit(in_batches(good, 4), 10).patches) == 5


@pytest.mark.parametrize(("rival", "images"), [(Padim.fit, 1), (Padim.fit, 0)])
def test_too_few_images_are_an_error(rival, images):
    with pytest.raises(CalibrationError, match="at least two good images"):
        rival([scales(images)] if images else [])
    with pytest.raises(CalibrationError, match="at least one good image"):
        PatchCore.fit([], 0)


def test_scores_with_and_without_the_border():
    maps = np.zeros((2, 32, 32), dtype=np.float32)
    maps[0, 0, 0] = 9
    maps[1, 16, 16:26] = 5
    scores = score_maps(maps)
    assert scores["max"].tolist() == [9, 5]
    assert scores["max_inner"].tolist() == [0, 5]
    assert scores["top"].tolist() == pytest.approx([0.9, 5.0])
    # Of 28 x 28 inner pixels, 1 % are 8.
    assert scores["top_inner"].tolist() == pytest.approx([0, 5.0])


def test_maps_span_the_image():
    spread_maps = spread(torch.arange(4.0).reshape(1, 2, 2), (32, 48))
    assert spread_maps.shape == (1, 32, 48)
    assert np.unravel_index(spread_maps[0].argmax(), (32, 48)) > (16, 24)
