"""The frozen encoder's features are computed once for each input, and are always the same."""

import pytest
import torch

from model.network import MambaAD
from model.training.features import Teacher
from model.training.progress.monitor import Monitor
from model.training.recipe.augmentation import Augmentation
from tests.tiny import PREPROCESSING, TINY

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MambaAD(TINY)


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (3, 3, *TINY.image_size), dtype=torch.uint8, generator=generator)


@pytest.fixture
def passes(network):
    """The number of inputs of each pass of the encoder."""
    counts = []
    hook = network.encoder.register_forward_pre_hook(lambda _, x: counts.append(len(x[0])))
    yield counts
    hook.remove()


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_input_that_comes_again_is_not_computed_again(network, batch, passes):
    teacher = Teacher(network.encoder, PREPROCESSING, CPU)
    first = teacher(batch)
    assert passes == [1, 1, 1]
    again = teacher(batch[[2, 0, 2]])
    assert passes == [1, 1, 1]
    assert same(again, [scale[[2, 0, 2]] for scale in first])
    assert same(
        teacher(batch[:1].flip(-1)), network.encoder(teacher.normalised(batch[:1].flip(-1)))
    )


def test_the_features_are_those_of_the_whole_batch(network, batch):
    teacher = Teacher(network.encoder, PREPROCESSING, CPU)
    expected = network.encoder(teacher.normalised(batch))
    for features in (teacher(batch), teacher(batch), teacher(batch, comes_again=False)):
        for part, whole in zip(features, expected, strict=True):
            torch.testing.assert_close(part, whole, rtol=1e-5, atol=1e-5)
        assert [f.stride() for f in features] == [f.stride() for f in expected]


def test_without_room_each_input_is_computed_each_time(network, batch, passes):
    size = sum(scale[:1].nbytes for scale in network.encoder(torch.zeros(1, 3, *TINY.image_size)))
    passes.clear()
    teacher = Teacher(network.encoder, PREPROCESSING, CPU, room_bytes=2 * size)
    first = teacher(batch)
    assert same(teacher(batch), first)
    assert passes == [1, 1, 1, 1]


def test_inputs_that_hardly_recur_are_not_kept(network, batch, passes):
    teacher = Teacher(network.encoder, PREPROCESSING, CPU)
    teacher(batch, comes_again=False)
    teacher(batch, comes_again=False)
    assert passes == [3, 3]


@pytest.mark.parametrize("changes", [Augmentation(hflip=True, vflip=True), Augmentation(shift=0.1)])
def test_training_is_the_same_without_kept_features(trainer_of, changes):
    trained = []
    for room in (2**30, 0):
        trainer = trainer_of(augmentation=changes)
        trainer.teacher = Teacher(trainer.network.encoder, PREPROCESSING, CPU, room_bytes=room)
        trainer.run(Monitor(), lambda: True)
        trained.append(trainer)
    first, second = (trainer.network.trained_state() for trainer in trained)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert trained[0].place.history[-1].loss == trained[1].place.history[-1].loss


def test_room_is_counted_in_inputs(network):
    size = sum(scale[:1].nbytes for scale in network.encoder(torch.zeros(1, 3, *TINY.image_size)))
    teacher = Teacher(network.encoder, PREPROCESSING, CPU, room_bytes=3 * size + 1)
    assert teacher.room(network.feature_shapes) == 3
    on_gpu = Teacher(network.encoder, PREPROCESSING, torch.device("cuda"), room_bytes=3 * size)
    assert on_gpu.room(network.feature_shapes) == 0
