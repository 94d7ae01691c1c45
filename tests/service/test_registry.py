"""Which checkpoint serves a category."""

import json
import logging
from pathlib import Path

import pytest

from model.checkpoint import CheckpointStore
from service.channel import CheckpointKey
from service.errors import CheckpointUnavailable, NoSuchCategory
from service.registry import Registry


@pytest.fixture
def registry(metrics):
    return lambda root: Registry(CheckpointStore(root), metrics)


def rewrite(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def test_an_empty_store_serves_nothing(registry, tmp_path):
    found = registry(tmp_path / "nowhere")
    assert (found.routes, found.refusals, found.checkpoints) == ([], [], ())
    with pytest.raises(NoSuchCategory, match="none"):
        found.find("bolt")


def test_a_route_says_how_its_category_is_inspected(registry, tmp_path, save, calibration):
    save(tmp_path, "parts", {"bolt": 0.5})
    route = registry(tmp_path).find("bolt")
    assert route.checkpoint == CheckpointKey("parts", "1")
    assert route.calibration == calibration(0.5)
    assert (route.image_size.height, route.image_size.width) == (64, 64)
    assert (route.license, route.notice) == ("CC0-1.0", "Random weights.")


def test_the_newest_version_serves_and_its_number_is_a_number(registry, tmp_path, save):
    folders = [save(tmp_path, "parts", {"bolt": 0.5}) for _ in range(2)]
    folders[1].rename(tmp_path / "parts" / "10")
    rewrite(tmp_path / "parts" / "10", version="10")
    folders[0].rename(tmp_path / "parts" / "9")
    rewrite(tmp_path / "parts" / "9", version="9")
    assert registry(tmp_path).find("bolt").checkpoint.version == "10"


def test_an_older_version_never_steps_in_unnoticed(registry, tmp_path, save):
    save(tmp_path, "parts", {"bolt": 0.5})
    newest = save(tmp_path, "parts", {"bolt": 0.5})
    (newest / "manifest.json").write_text("{", "utf-8")
    found = registry(tmp_path)
    assert found.routes == []
    assert [refusal.checkpoint for refusal in found.refusals] == [CheckpointKey("parts", "2")]


def test_an_older_version_that_cannot_be_read_is_nobodys_concern(registry, tmp_path, save):
    oldest = save(tmp_path, "parts", {"bolt": 0.5})
    save(tmp_path, "parts", {"bolt": 0.5})
    (oldest / "manifest.json").write_text("{", "utf-8")
    found = registry(tmp_path)
    assert found.find("bolt").checkpoint.version == "2"
    assert found.refusals == []


@pytest.mark.parametrize("later", ["early", "late"])
def test_of_two_claims_the_later_serves_and_the_log_says_so(
    registry, tmp_path, save, caplog, later
):
    for name in ("early", "late"):
        created = f"2025-0{2 if name == later else 1}-01T00:00:00+00:00"
        rewrite(save(tmp_path, name, {"bolt": 0.5, f"of-{name}": 0.5}), created=created)
    with caplog.at_level(logging.WARNING, "service"):
        found = registry(tmp_path)
    assert found.find("bolt").checkpoint.name == later
    assert [route.category for route in found.routes] == ["bolt", "of-early", "of-late"]
    (warning,) = caplog.messages
    assert "early/1" in warning
    assert "late/1" in warning


def test_a_manifest_that_does_not_fit_together_is_refused(registry, tmp_path, save):
    rewrite(save(tmp_path, "parts", {"bolt": 0.5}), preprocessing={"image_size": [0, 0]})
    found = registry(tmp_path)
    assert found.routes == []
    assert "does not fit together" in found.refusals[0].reason


def test_an_unknown_category_is_told_which_there_are(registry, tmp_path, save):
    save(tmp_path, "parts", {"bolt": 0.5, "nut": 0.5})
    with pytest.raises(NoSuchCategory, match=r"'botl'.*have: bolt, nut"):
        registry(tmp_path).find("botl")


@pytest.mark.parametrize("name", ["../parts", "%2e%2e", "", "bolt\0", "ß", "x" * 10_000])
def test_names_are_looked_up_and_never_paths(registry, tmp_path, save, name):
    save(tmp_path, "parts", {"bolt": 0.5})
    with pytest.raises(NoSuchCategory) as caught:
        registry(tmp_path).find(name)
    assert len(str(caught.value)) < 300


def test_what_a_worker_cannot_load_is_refused_until_it_can(registry, tmp_path, save, metrics):
    save(tmp_path, "parts", {"bolt": 0.5})
    found = registry(tmp_path)
    key = CheckpointKey("parts", "1")
    found.report("cpu", {key: f"{tmp_path}/parts/1 is damaged"})
    assert found.routes == []
    assert found.refusals == [(key, "weights/parts/1 is damaged")]
    assert found.checkpoints == (key,)
    with pytest.raises(CheckpointUnavailable, match="parts/1"):
        found.find("bolt")
    info = {"category": "bolt", "model": "parts", "version": "1"}
    assert metrics.registry.get_sample_value("mambaad_category_info", info) is None
    assert metrics.registry.get_sample_value("mambaad_checkpoints_refused") == 1
    found.report("cpu", {})
    assert found.find("bolt").checkpoint == key
    assert metrics.registry.get_sample_value("mambaad_category_info", info) == 1
    assert metrics.registry.get_sample_value("mambaad_checkpoints_refused") == 0


def test_a_reason_tells_no_path_of_the_machine_though_the_store_is_relative(
    registry, tmp_path, save, monkeypatch
):
    save(tmp_path / "store", "parts", {"bolt": 0.5})
    monkeypatch.chdir(tmp_path)
    found = registry(Path("store"))
    found.report("cpu", {CheckpointKey("parts", "1"): f"{tmp_path}/store/parts/1 is damaged"})
    assert found.refusals[0].reason == "weights/parts/1 is damaged"


def test_one_of_two_workers_is_enough_to_refuse(registry, tmp_path, save):
    save(tmp_path, "parts", {"bolt": 0.5})
    found = registry(tmp_path)
    found.report("cpu", {CheckpointKey("parts", "1"): "damaged"})
    found.report("cuda:0", {})
    assert found.routes == []
