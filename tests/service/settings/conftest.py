"""Settings as without the tests' own variable."""

import pytest


@pytest.fixture(autouse=True)
def no_variable_of_the_tests(monkeypatch):
    monkeypatch.delenv("MAMBAAD_WORKERS__SPARE")
