"""Which parts of the maps the losses and their emphasis count."""

import pytest
import torch

from model.errors import ConfigError
from model.training.applying.emphasis import position_weights
from model.training.objective import feature_loss
from model.training.recipe.emphasis import Emphasis


def features(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


SHAPES = ((2, 4, 8, 8), (2, 6, 4, 4), (2, 8, 2, 2))


def loss_and_gradients(name, emphasis=None, progress=1.0):
    teacher = features(1, *SHAPES)
    student = [f.requires_grad_() for f in features(2, *SHAPES)]
    loss = feature_loss(name, teacher, student, emphasis or Emphasis(), progress)
    loss.backward()
    return loss.item(), [f.grad for f in student]


@pytest.mark.parametrize("name", ["mse", "cosine", "global_cosine"])
def test_without_emphasis_all_count_alike(name):
    plain = loss_and_gradients(name)
    spelled = loss_and_gradients(name, Emphasis(hard_mining=0.9, easy_gradient=1.0))
    assert spelled[0] == pytest.approx(plain[0])
    for first, second in zip(plain[1], spelled[1], strict=True):
        torch.testing.assert_close(first, second)


def test_global_cosine_compares_whole_maps():
    teacher, student = features(1, SHAPES[0]), features(2, SHAPES[0])
    expected = 1 - torch.cosine_similarity(teacher[0].flatten(1), student[0].flatten(1)).mean()
    assert feature_loss("global_cosine", teacher, student).item() == pytest.approx(expected.item())
    # Scaling one position changes it, but not the cosine of each position.
    louder = student[0].clone()
    louder[:, :, 0, 0] *= 10
    assert feature_loss("global_cosine", teacher, [louder]) != pytest.approx(expected.item())
    assert feature_loss("cosine", teacher, [louder]).item() == pytest.approx(
        feature_loss("cosine", teacher, student).item()
    )


def test_a_loss_that_is_none_is_refused():
    with pytest.raises(ValueError, match="loss must be one of"):
        feature_loss("l1", features(1, SHAPES[0]), features(2, SHAPES[0]))


def test_loss_weights_multiply_the_scales():
    separate = [
        feature_loss("cosine", [t], [s]).item()
        for t, s in zip(features(1, *SHAPES), features(2, *SHAPES), strict=True)
    ]
    weighted = feature_loss(
        "cosine", features(1, *SHAPES), features(2, *SHAPES), Emphasis(loss_weights=(0.0, 1.0, 3.0))
    )
    assert weighted.item() == pytest.approx(separate[1] + 3 * separate[2])
    assert Emphasis(loss_weights=(0.0, 0.0, 1.0)).unused_scales == 2


@pytest.mark.parametrize("name", ["mse", "cosine", "global_cosine"])
def test_hard_mining_shrinks_the_gradient_of_what_is_rebuilt_best(name):
    value, plain = loss_and_gradients(name)
    loose_value, loose = loss_and_gradients(
        name, Emphasis(hard_mining=0.5, hard_mining_ramp=0.0, easy_gradient=0.1)
    )
    assert loose_value == pytest.approx(value)
    for teacher, student, before, after in zip(
        features(1, *SHAPES), features(2, *SHAPES), plain, loose, strict=True
    ):
        if name == "mse":
            distance = (teacher - student).square().mean(1)
        else:
            distance = 1 - torch.cosine_similarity(teacher, student, dim=1)
        easy = distance <= distance.flatten().kthvalue(distance.numel() // 2).values
        ratio = (after / before).mean(dim=1)
        torch.testing.assert_close(ratio[easy], torch.full_like(ratio[easy], 0.1))
        torch.testing.assert_close(ratio[~easy], torch.ones_like(ratio[~easy]))


def test_hard_mining_grows_over_its_ramp():
    emphasis = Emphasis(hard_mining=0.8, hard_mining_ramp=0.5)
    assert [emphasis.easy_share(p) for p in (0.0, 0.25, 0.5, 1.0)] == [0, 0.4, 0.8, 0.8]
    _, at_first = loss_and_gradients("cosine", emphasis, progress=0.0)
    _, plain = loss_and_gradients("cosine")
    assert all(torch.equal(a, b) for a, b in zip(at_first, plain, strict=True))


@pytest.mark.parametrize("name", ["mse", "cosine", "global_cosine"])
def test_a_border_that_weighs_nothing_has_no_gradient(name):
    _, gradients = loss_and_gradients(name, Emphasis(border_share=0.25, border_weight=0.0))
    finest = gradients[0].abs().sum(dim=(0, 1))  # (8, 8), the border 2 wide
    assert (finest[2:6, 2:6] > 0).all()
    finest[2:6, 2:6] = 0
    assert not finest.any()


def test_position_weights_are_one_on_average():
    weights = position_weights(
        Emphasis(border_share=0.25, border_weight=3.0), torch.zeros(1, 1, 8, 8)
    )
    assert weights.mean() == pytest.approx(1)
    assert weights[0, 0] / weights[4, 4] == pytest.approx(3)
    # A map that is all border keeps its weight.
    ones = position_weights(Emphasis(border_share=0.49, border_weight=0.0), torch.zeros(1, 1, 2, 2))
    assert torch.equal(ones, torch.ones(2, 2))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("loss_weights", (0.0, 0.0, 0.0)),
        ("loss_weights", (1.0, -1.0, 1.0)),
        ("border_share", 0.5),
        ("border_weight", -1.0),
        ("hard_mining", 1.0),
        ("hard_mining_ramp", 1.5),
        ("easy_gradient", -0.1),
    ],
)
def test_impossible_emphasis_is_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=field):
        Emphasis(**{field: value})
