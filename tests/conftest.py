"""Checks shapes in all tests, sets one thread each, and groups tests for two processes.

beartype checks the shapes in `model`'s signatures on each call, through jaxtyping's import hook,
which must be in place before the first import of `model`. Modules that Numba compiles are left out:
Numba cannot compile a wrapper.

pytest-xdist runs a group of tests in one process. All tests of a started service are one group, so
that it starts once; otherwise a group is a file. The longest groups run first.

Without a CUDA device, Triton's kernels run in its interpreter on the CPU. Triton reads the variable
for that at its first import.
"""

import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = (
    "1"  # before torch is imported: tiny networks gain nothing from more
)

os.environ.setdefault("MAMBAAD_WORKERS__SPARE", "off")  # only its own tests start a spare

import pytest
import torch
from jaxtyping import install_import_hook

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

ROOT = Path(__file__).parents[1]


def modules_with_shapes() -> list[str]:
    """Name the modules of `model` that use jaxtyping but not Numba."""
    sources = {path: path.read_text("utf-8") for path in sorted((ROOT / "model").rglob("*.py"))}
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path, source in sources.items()
        if path.stem != "__init__"
        and "from jaxtyping import" in source
        and "import numba" not in source
        and "from numba" not in source
    ]


install_import_hook(modules_with_shapes(), "beartype.beartype")


STARTED_ONCE = {"live_service": "live", "server": "server", "ray_nodes": "cluster"}
"""Fixtures that start a service for tests of several files, and the group of these tests."""

LONGEST_FIRST = [
    "live",
    "server",
    "cluster",
    "tests/service/cluster/test_ray_hosts.py",
    "tests/service/shared/test_hosts.py",
    "tests/service/delivery/test_outage.py",
    "tests/model/export/test_program.py",
    "tests/service/api/admin/test_routes.py",
    "tests/service/shared/test_nodes.py",
    "tests/model/checkpoints/test_published.py",
    "tests/model/cli/test_cli.py",
    "tests/model/export/test_artefact.py",
    "tests/benchmarks/test_load.py",
    "tests/model/export/test_onnx_file.py",
    "tests/model/training/test_folds.py",
    "tests/service/workers/child/test_inspector.py",
    "tests/service/cli/test_main.py",
    "tests/service/station/test_station.py",
    "tests/benchmarks/test_gpu.py",
    "tests/service/test_engine.py",
    "tests/service/delivery/sinks/test_postgresql.py",
    "tests/service/delivery/sinks/test_webhook.py",
    "tests/service/shared/test_deployment.py",
    "tests/service/cli/test_state.py",
    "tests/service/delivery/test_kill.py",
    "tests/service/delivery/sinks/test_mqtt.py",
    "tests/service/delivery/test_sender.py",
    "tests/model/scan/test_kernel_cache.py",
    "tests/model/scan/test_hybrid_scan.py",
    "tests/model/training/test_crash.py",
    "tests/service/workers/test_process.py",
    "tests/service/test_shutdown.py",
    "tests/service/test_request_budgets.py",
    "tests/service/test_budget.py",
    "tests/model/training/test_training.py",
    "tests/benchmarks/test_kernel_counts.py",
    "tests/service/http/test_connection.py",
    "tests/model/scan/triton/test_triton.py",
    "tests/model/imports/test_torchvision_ops.py",
    "tests/model/imports/test_compiler_import.py",
    "tests/model/imports/test_timm_import.py",
    "tests/model/engines/torch/test_engine.py",
    "tests/model/engines/cuda/test_engine.py",
    "tests/service/faults/test_process.py",
    "tests/service/faults/test_recording.py",
    "tests/model/training/test_distributed.py",
    "tests/model/checkpoints/test_checkpoint.py",
    "tests/model/metrics/test_ranking_and_regions.py",
    "tests/model/metrics/test_pixels.py",
    "tests/model/inference/test_detector.py",
    "tests/model/training/test_options.py",
    "tests/test_wheel.py",
]
"""Groups that take 5 s or more; their tests are marked `slow`, and `make test-quick` skips them."""


def group_of(item: pytest.Item) -> str:
    fixtures = getattr(item, "fixturenames", ())
    started = [group for fixture, group in STARTED_ONCE.items() if fixture in fixtures]
    return started[0] if started else item.nodeid.partition("::")[0]


def missing_groups() -> list[str]:
    started = STARTED_ONCE.values()
    return [name for name in LONGEST_FIRST if name not in started and not (ROOT / name).is_file()]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Assign each test to its group, the longest groups first."""
    if missing := missing_groups():
        raise pytest.UsageError(f"LONGEST_FIRST in {__file__} names no test: {missing}")
    place = {group: number for number, group in enumerate(LONGEST_FIRST)}
    groups = {item: group_of(item) for item in items}
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
        if group in place:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: place.get(groups[item], len(place)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
