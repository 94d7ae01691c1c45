import pytest
import torch

from model.engines.cuda.smoothing import Smoothing
from model.scoring.cosine_map import anomaly_map

CPU = torch.device("cpu")


def features(sizes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 5, h, w, generator=generator) for h, w in sizes]


@pytest.mark.parametrize("sigma", [0.0, 0.4, 4.0, 30.0])
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 0.0, 2.0)])
def test_two_products_are_the_resized_and_blurred_mean(sigma, weights):
    sizes, size = [(16, 24), (8, 12), (1, 2)], (64, 96)
    teacher, student = features(sizes), features(sizes)[::1]
    student = [s.flip(1) + 0.1 for s in student]
    smooth = Smoothing(sizes, size, sigma, weights, CPU)
    distances = [
        1 - torch.nn.functional.cosine_similarity(t, s, dim=1)
        for t, s in zip(teacher, student, strict=True)
    ]
    expected = anomaly_map(teacher, student, size, sigma, weights)
    torch.testing.assert_close(smooth(distances), expected, atol=2e-6, rtol=0)


def test_one_scale_alone():
    smooth = Smoothing([(4, 4)], (4, 4), 0.0, (3.0,), CPU)
    scale = torch.rand(1, 4, 4)
    torch.testing.assert_close(smooth([scale]), scale)
