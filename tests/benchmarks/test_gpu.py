"""The GPU benchmark without a GPU: yardsticks, verdicts, unmeasured figures."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from benchmarks import gpu, published_flow
from benchmarks.gpu_parts import targets
from benchmarks.gpu_parts.ceilings import Ceilings
from benchmarks.gpu_parts.scans import PAPER, Stage, floor_ms, network_ms
from benchmarks.gpu_parts.yardsticks import scanning_by, yardsticks
from model.network import blocks
from model.scan import hybrid_scan
from model.scan.mamba_ssm import permuted_scan

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "gpu.json"
CPU = torch.device("cpu")


def command(*arguments):
    app = Typer()
    app.command()(gpu.main)
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("side", [4, 32])  # 32 x 32 steps are two blocks
def test_the_stand_in_for_mamba_ssm_scans(side):
    pytest.importorskip("triton")
    selective_scan = import_module("benchmarks.gpu_parts.selective_scan").selective_scan
    stage = Stage(side, 2, 1, 1, K=2 if side == 32 else 4, N=2)
    inputs = stage.inputs(1, torch.float32, CPU)
    scanned = permuted_scan(selective_scan, *inputs)
    torch.testing.assert_close(scanned, hybrid_scan(*inputs), atol=1e-4, rtol=1e-4)


def test_without_mamba_ssm_the_yardsticks_say_so():
    names = list(yardsticks())
    assert names
    assert all("is not installed" in name for name in names) or names[0].startswith("mamba_ssm ")


def test_networks_scan_by_a_yardstick_for_a_while():
    before = blocks.hybrid_scan
    with scanning_by(published_flow.scan):
        inputs = Stage(4, 4, 1, 1, K=2, N=2).inputs(1, torch.float32, CPU)
        torch.testing.assert_close(
            blocks.hybrid_scan(*inputs, backend="cpu"), before(*inputs), atol=1e-4, rtol=1e-4
        )
        assert blocks.hybrid_scan is not before
    assert blocks.hybrid_scan is before


def test_the_papers_scans_are_counted():
    assert sum(stage.updates(1) * stage.blocks for stage in PAPER) == 494_927_872
    stage = Stage(4, 8, 1, 1, K=2, N=2)
    inputs = stage.inputs(3, torch.float32, CPU)
    floor = floor_ms(stage, 3, inputs, Ceilings(1e9, {}, 1e9, None))
    moved = sum(t.numel() * t.element_size() for t in inputs) + 3 * 16 * 8 * 4
    assert floor == {
        "bytes": pytest.approx(moved / 1e6), "flops": None,
        "exponentials": pytest.approx(3 * 16 * 8 * 2 * 2 / 1e6),
    }  # fmt: skip


def rows(ours_ms, fast_ms):
    way = {
        "ours, float32": {"p50_ms": ours_ms},
        "fast": {"p50_ms": fast_ms},
        "slow": {"p50_ms": 99.0},
    }
    return [
        {"batch_size": b, "stage": {"blocks": blocks_}, "ways": way}
        for b in (1, 32)
        for blocks_ in (2, 3)
    ]


def ends(p50_ms, images, published):
    timings = [{"batch_size": b, "p50_ms": p50_ms, "images_per_second": images} for b in (1, 32)]
    return [{"ours": timings, "published": {"way": [{"images_per_second": published}] * 2}}]


def test_targets_are_held_against_the_fastest_yardstick():
    assert network_ms(rows(2.0, 8.0), 32) == {"ours, float32": 10.0, "fast": 40.0, "slow": 495.0}
    met = targets.verdicts(rows(2.0, 8.0), ends(4.0, 1500.0, 500.0))
    assert [(v["found"], v["met"]) for v in met] == [
        (4.0, True), (3.0, True), (4.0, True), (1500.0, True),
    ]  # fmt: skip
    missed = targets.verdicts(rows(2.0, 7.9), ends(4.1, 1499.0, 500.0))
    assert [v["met"] for v in missed] == [False] * 4


def test_without_a_gpu_nothing_is_measured():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    answer = command()
    assert answer.exit_code != 0
    assert "finds no CUDA device" in str(answer.exception) + answer.output


def test_the_kept_result_has_the_schema_and_says_what_was_not_measured(tmp_path):
    file = tmp_path / "gpu.json"
    answer = command("--not-measured", "--json", str(file))
    assert answer.exit_code == 0, answer.output
    assert answer.output.count("not measured") == 4
    fresh, committed = json.loads(file.read_text()), json.loads(RESULT.read_text())
    assert fresh.keys() == committed.keys()
    assert committed["measured"] or "not measured" in committed["why_not"]
    assert [t["what"] for t in committed["targets"]] == [t["what"] for t in fresh["targets"]]


@pytest.mark.slow
def test_every_step_can_be_rehearsed(tmp_path):
    file = tmp_path / "gpu.json"
    answer = command("--dry-run", "--json", str(file))
    assert answer.exit_code == 0, answer.output
    result = json.loads(file.read_text())
    assert result["measured"] is False
    assert [t["met"] for t in result["targets"]] == [None] * 4
    (end,) = result["rehearsal"]["ends"]
    assert end["graphs"] == [1, 2]
    assert end["difference_of_scores"] < 1e-4
    assert len(end["trials"]) == 2
    assert all(t["images_per_second"] > 0 for t in end["ours"])
    assert result["rehearsal"]["scans"][0]["ways"].keys() >= {"ours, float32", "ours, float16"}
