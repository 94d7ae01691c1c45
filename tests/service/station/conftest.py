"""One service for all tests of stations, and trigger numbers that no two tests share."""

import itertools

import pytest

from tests.service.live import serving

_STARTS = itertools.count(1_001, 1_000)


@pytest.fixture(scope="session")
def served(tmp_path_factory, weights):
    """A service that keeps every image of its inspections."""
    state = tmp_path_factory.mktemp("state")
    with serving(weights, versions__state_dir=state, archive__keep_images="OK=1") as live:
        yield live


@pytest.fixture
def first():
    """The first of a thousand trigger numbers that are this test's own."""
    return next(_STARTS)
