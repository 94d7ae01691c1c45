"""Processes on several hosts must train the same, and the first must have the state."""

import pytest

from model.errors import CheckpointError, ConfigError
from model.training.parallel.agreement import check_agreement, check_state
from model.training.parallel.group import Group


class Answers(Group):
    """A group whose other processes give these answers."""

    def __init__(self, *others):
        super().__init__(0, 1 + len(others))
        self._others = others

    def collect(self, value):
        return [value, *self._others]


def test_equal_processes_agree():
    check_agreement(Answers({"a": 1}, {"a": 1}), {"a": 1})
    check_agreement(Group(), {"a": 1})


def test_another_set_of_images_is_named():
    images = {"images.train.bolt": "8 images ab", "training.seed": 0}
    other = images | {"images.train.bolt": "7 images cd"}
    with pytest.raises(ConfigError, match=r"process 2 trains on something else.*7 images cd there"):
        check_agreement(Answers(images, other), images)
    with pytest.raises(ConfigError, match=r"training\.tile is 2 there and None on process 0"):
        check_agreement(Answers(images | {"training.tile": 2}), images)


def test_the_first_process_alone_needs_the_state(tmp_path):
    file = tmp_path / "state"
    file.touch()
    check_state(Answers(False, False), file)


def test_without_a_state_on_the_first_process_the_one_that_has_it_is_named(tmp_path):
    file = tmp_path / "state"
    with pytest.raises(CheckpointError, match=r"no file .*state on process 0$"):
        check_state(Answers(False, False), file)
    with pytest.raises(CheckpointError, match=r"process 2 has one.*--node-rank 0"):
        check_state(Answers(False, True), file)
