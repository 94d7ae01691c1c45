"""The variables that tune torch."""

import pytest

from service.settings import tune_torch


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ({}, {"THP_MEM_ALLOC_ENABLE": "1", "GOMP_SPINCOUNT": "20000"}),
        ({"THP_MEM_ALLOC_ENABLE": "0"}, {"GOMP_SPINCOUNT": "20000"}),
        ({"GOMP_SPINCOUNT": "7"}, {"THP_MEM_ALLOC_ENABLE": "1"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"THP_MEM_ALLOC_ENABLE": "1"}),
        ({"OPENBLAS_NUM_THREADS": "2"}, {"THP_MEM_ALLOC_ENABLE": "1", "GOMP_SPINCOUNT": "20000"}),
    ],
)
def test_torch_is_tuned_where_the_user_has_not_done_so(monkeypatch, given, then):
    environment = {"PATH": "/bin", **given}
    monkeypatch.setattr("service.settings.environment.os.environ", environment)
    tune_torch()
    assert environment == {"PATH": "/bin", "OPENBLAS_NUM_THREADS": "1", **given, **then}
