"""The lines around anomalous areas lie where the scores cross the threshold."""

import re

import numpy as np
import pytest

from service.console.images.contours import contours


def loops(path: str) -> list[np.ndarray]:
    return [
        np.array([[float(number) for number in point.split()] for point in loop.split("L")])
        for loop in re.findall(r"M([^Z]*)Z", path)
    ]


def area(loop: np.ndarray) -> float:
    x, y = loop.T
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2


def test_a_disc_has_one_contour_of_its_radius():
    rows, columns = np.mgrid[:64, :96]
    distance = np.hypot(rows - 30, columns - 40)
    scores = np.clip(1 - distance / 40, 0, 1).astype(np.float32)  # 0.5 at a distance of 20
    (loop,) = loops(contours(scores, (192, 128)))
    radius = np.hypot(*(loop - (81, 61)).T)
    assert radius == pytest.approx(np.full(len(loop), 40), abs=0.6)
    assert area(loop) == pytest.approx(np.pi * 40**2, rel=0.02)


def test_an_area_at_the_edge_ends_there():
    scores = np.zeros((8, 8), np.float32)
    scores[:4] = 1.0
    (loop,) = loops(contours(scores, (80, 80)))
    assert (loop.min(axis=0).tolist(), loop.max(axis=0).tolist()) == ([0, 0], [80, 40])


def test_each_area_has_its_own_contour_and_none_has_none():
    scores = np.zeros((16, 16), np.float32)
    assert contours(scores, (16, 16)) == ""
    scores[2:5, 2:5] = scores[9:13, 9:13] = 0.9
    assert len(loops(contours(scores, (16, 16)))) == 2
    scores[5, 5] = 0.9  # touches the first at a corner
    assert sum(map(area, loops(contours(scores, (16, 16))))) > 20


def test_noise_at_any_size_is_one_closed_path_for_each_loop():
    for shape in ((1, 1), (3, 7), (400, 700)):
        scores = np.random.default_rng(1).random(shape, np.float32)
        for loop in loops(contours(scores, (1000, 500))):
            assert len(loop) >= 4
            assert loop.min() >= 0
            assert (loop <= (1000, 500)).all()
