"""The service with only ONNX files works like with torch, which no process imports."""

import base64
import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from model.checkpoints.golden import GoldenImages
from model.runtimes import runtimes
from model.scoring.baselines import to_arrays
from model.scoring.map_baseline import Baseline
from service.cli.main import build_commands
from service.settings import Settings, VersionSettings, WorkerSettings
from tests.onnx_files import BROKEN, write_version

DARK, BRIGHT = 51, 204


def calibration(threshold: float) -> dict[str, object]:
    return {
        "image_threshold": threshold, "pixel_threshold": threshold, "image_scale": 0.1,
        "pixel_scale": 0.1, "alpha": 0.01, "good_images": 150,
    }  # fmt: skip


def golden_of(value: int, score: float) -> dict[str, GoldenImages]:
    images = np.full((1, 3, 64, 64), value, np.uint8)
    return {"bolt": GoldenImages(images, (score,), 0.001)}


def plain(value: int, spot: int | None = None) -> bytes:
    pixels = np.full((48, 96, 3), value, np.uint8)
    if spot is not None:
        pixels[:24, :48] = spot
    encoded = BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory, start_server, eventually):
    """parts/1 decides by brightness; rivets/1 by its baseline; off/1 and junk/1 cannot serve."""
    root = tmp_path_factory.mktemp("edge") / "weights"
    golden_images = golden_of(BRIGHT, BRIGHT / 255)
    write_version(root, "parts", {"bolt": calibration(0.5)}, golden=golden_images)
    ones = np.ones((64, 64), np.float32)
    usual = to_arrays({"rivet": Baseline(0.2 * ones, 0.1 * ones)})
    scoring = {"standardise": True}
    write_version(root, "rivets", {"rivet": calibration(5.0)}, scoring=scoring, baselines=usual)
    wrong = golden_of(BRIGHT, 0.1)
    write_version(root, "off", {"bolt": calibration(0.5), "cog": calibration(0.5)}, golden=wrong)
    write_version(root, "junk", {"nut": calibration(0.5)}, data=b"junk")
    settings = Settings(
        versions=VersionSettings(weights_dir=root),
        workers=WorkerSettings(threads_per_worker=1, stop_grace_s=2, max_batch_size=4),
    )
    with start_server(settings) as server, server.client() as client:
        eventually(lambda: client.get("/readyz").status_code == 200, "readiness")
        yield server


@pytest.fixture
def client(site):
    with site.client() as client:
        yield client


def inspect(client, content, category="rivet", query=""):
    response = client.post(f"/detect?category={category}{query}", content=content)
    assert response.status_code == 200, response.text
    return response.json()["results"][0]


def test_parts_are_decided_from_the_raw_map_and_the_baseline(client):
    good, bad = inspect(client, plain(DARK)), inspect(client, plain(BRIGHT))
    assert (good["decision"], bad["decision"]) == ("OK", "NG")
    assert good["raw_score"] == pytest.approx((0.2 - 0.2) / 0.1, abs=1e-4)
    assert bad["raw_score"] == pytest.approx((0.8 - 0.2) / 0.1, abs=1e-4)
    assert {"network", "decision"} <= set(bad["timings_ms"])


def test_regions_and_heatmaps_show_where(client):
    result = inspect(client, plain(DARK, spot=BRIGHT), query="&heatmap=mask")
    (region,) = result["regions"]
    assert (region["x"], region["y"]) == (0, 0)
    assert region["width"] == pytest.approx(48, abs=3)
    mask = np.asarray(Image.open(BytesIO(base64.b64decode(result["heatmap"]))))
    assert mask.shape == (48, 96)
    assert (mask[:20, :40] == 255).all()
    assert (mask[30:, 60:] == 0).all()


def test_thresholds_are_the_services_own_and_change_while_it_serves(client):
    path = "/categories/rivet/threshold"
    changed = client.put(path, json={"threshold": 7.0, "who": "Ada", "reason": "trial"})
    assert changed.status_code == 200, changed.text
    assert inspect(client, plain(BRIGHT))["decision"] == "OK"
    assert client.delete(path, params={"who": "Ada", "reason": "over"}).status_code == 200
    assert inspect(client, plain(BRIGHT))["decision"] == "NG"


def test_what_is_not_finite_is_undecided(client):
    response = client.post("/detect?category=rivet", content=plain(BROKEN))
    assert (response.status_code, response.headers["x-decision"]) == (500, "UNDECIDED")
    assert inspect(client, plain(DARK))["decision"] == "OK"


def test_a_file_that_does_not_score_its_golden_images_is_not_served(client):
    refused = client.post("/models/off/1/load")
    assert "golden images" in refused.text
    assert refused.status_code >= 400


def test_a_file_that_onnxruntime_cannot_read_fails_its_category_alone(client):
    response = client.post("/detect?category=nut", content=plain(DARK))
    assert response.status_code == 503
    assert inspect(client, plain(DARK))["decision"] == "OK"


def test_versions_tell_what_they_weigh_and_how_long_batches_take(client):
    by_name = {model["name"]: model for model in client.get("/models").json()["models"]}
    (resident,) = by_name["rivets"]["workers"]
    baseline = 2 * 64 * 64 * 4
    assert baseline < resident["bytes"] < baseline + 10_000  # the baseline and the file
    assert resident["latency"]["image_ms"] >= 0


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_the_worker_has_loaded_onnxruntime_and_not_torch(site):
    mapped = Path(f"/proc/{site.worker.pid}/maps").read_text("utf-8")
    assert "onnxruntime" in mapped
    assert "libtorch" not in mapped
    assert "numba" not in mapped


def test_serving_is_refused_where_what_computes_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes, "_installed", lambda library: False)
    folder = write_version(tmp_path, "parts", {"bolt": calibration(0.5)})
    runner = CliRunner()
    refused = runner.invoke(build_commands(), ["serve", "--weights", str(tmp_path)])
    assert refused.exit_code == 2
    assert "pip install 'mambaad-service[edge]'" in refused.stderr
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    none = "0" * 64
    manifest["sha256"] = {"network.safetensors": none, manifest["encoder_file"]: none}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    refused = runner.invoke(build_commands(), ["serve", "--weights", str(tmp_path)])
    assert "pip install 'mambaad-service[torch]'" in refused.stderr
