"""Which checkpoint serves a category."""

import json
import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store
from service.errors import CheckpointUnavailable, NoSuchCategory, NoSuchModel
from service.versions.assignment import Assignment, Canary, Role
from service.versions.registry import Registry
from service.versions.state import State
from service.versions.thresholds import Threshold


@pytest.fixture
def registry(metrics):
    return lambda root, state=None: Registry(Store(root), metrics, state)


def rewrite(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def test_an_empty_store_serves_nothing(registry, tmp_path):
    loaded = registry(tmp_path / "nowhere")
    assert (loaded.routes, loaded.refusals, loaded.checkpoints) == ([], [], ())
    with pytest.raises(NoSuchCategory, match="none"):
        loaded.find("bolt")


def test_a_route_says_how_its_category_is_inspected(registry, tmp_path, save, calibration):
    save(tmp_path, "parts", {"bolt": 0.5})
    route = registry(tmp_path).find("bolt")
    assert route.checkpoint == CheckpointKey("parts", "1")
    assert route.calibration == calibration(0.5)
    assert (route.image_size.height, route.image_size.width) == (64, 64)
    assert (route.license, route.notice) == ("CC0-1.0", "Random weights.")


def test_a_checkpoint_is_named_by_what_it_computes_by(registry, tmp_path, save, network):
    first = save(tmp_path, "parts", {"bolt": 0.5})
    other = network()
    next(other.decoder.parameters()).data += 1
    save(tmp_path, "others", {"nut": 0.5}, other)

    def sha256(category="bolt"):
        return registry(tmp_path).find(category).sha256

    before = sha256()
    assert len(before) == 64
    assert sha256("nut") != before
    values = json.loads((first / "manifest.json").read_text("utf-8"))
    values["calibrations"]["bolt"]["image_threshold"] = 0.7  # as `mambaad calibrate` changes it
    rewrite(first, calibrations=values["calibrations"], notice="Another.")
    assert sha256() == before
    rewrite(first, preprocessing=values["preprocessing"] | {"mean": [0.1, 0.2, 0.3]})
    assert sha256() != before


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
    loaded = registry(tmp_path)
    assert loaded.routes == []
    assert [refusal.checkpoint for refusal in loaded.refusals] == [CheckpointKey("parts", "2")]


def test_an_older_version_that_cannot_be_read_is_nobodys_concern(registry, tmp_path, save):
    oldest = save(tmp_path, "parts", {"bolt": 0.5})
    save(tmp_path, "parts", {"bolt": 0.5})
    (oldest / "manifest.json").write_text("{", "utf-8")
    loaded = registry(tmp_path)
    assert loaded.find("bolt").checkpoint.version == "2"
    assert loaded.refusals == []


@pytest.mark.parametrize("first", ["early", "late"])
def test_of_two_claims_the_first_stays_and_the_log_says_so(registry, tmp_path, save, caplog, first):
    for name in ("early", "late"):
        created = f"2025-0{1 if name == first else 2}-01T00:00:00+00:00"
        rewrite(save(tmp_path, name, {"bolt": 0.5, f"of-{name}": 0.5}), created=created)
    with caplog.at_level(logging.WARNING, "service"):
        loaded = registry(tmp_path)
    other = CheckpointKey({"early": "late", "late": "early"}[first], "1")
    assert loaded.find("bolt").checkpoint == CheckpointKey(first, "1")
    assert [route.category for route in loaded.routes] == ["bolt", "of-early", "of-late"]
    (warning,) = caplog.messages
    assert f"bolt is contested: {first}/1 serves it, and {other} could" in warning
    assert loaded.contested == {"bolt": [CheckpointKey(first, "1"), other]}
    assert loaded.also_claimed_by("bolt") == [other]
    assert loaded.also_claimed_by("of-early") == []


def test_a_decision_settles_a_claim_whatever_comes_later(registry, tmp_path, save, caplog):
    for name in ("early", "late"):
        rewrite(save(tmp_path, name, {"bolt": 0.5}), created=f"2025-01-01T00:00:0{len(name)}")
    late = CheckpointKey("late", "1")
    loaded = registry(tmp_path, State().with_route("bolt", Assignment(stable=late)))
    assert loaded.find("bolt").checkpoint == late
    assert (loaded.contested, caplog.messages) == ({}, [])
    assert loaded.also_claimed_by("bolt") == [CheckpointKey("early", "1")]
    loaded.apply(State())
    assert list(loaded.contested) == ["bolt"]


def test_a_name_that_is_added_takes_nothing_over_and_a_new_version_keeps_its_claim(
    registry, tmp_path, save
):
    rewrite(save(tmp_path, "parts", {"bolt": 0.5}), created="2025-01-01T00:00:00+00:00")
    loaded = registry(tmp_path)
    rewrite(save(tmp_path, "anew", {"bolt": 0.5}), created="2025-02-01T00:00:00+00:00")
    rewrite(save(tmp_path, "parts", {"bolt": 0.5}), created="2025-03-01T00:00:00+00:00")
    loaded.rescan()
    assert loaded.find("bolt").checkpoint == ONE
    assert loaded.also_claimed_by("bolt") == [CheckpointKey("anew", "1")]
    assert registry(tmp_path).find("bolt").checkpoint == TWO


INTERRUPTED = {
    "recipe": {"epochs": 100},
    "epochs_done": 3,
    "finished": False,
    "ended": "interrupted",
}


def test_an_interrupted_version_does_not_take_over(registry, tmp_path, save, caplog):
    save(tmp_path, "parts", {"bolt": 0.5})
    rewrite(save(tmp_path, "parts", {"bolt": 0.5, "nut": 0.5}), training=INTERRUPTED)
    with caplog.at_level(logging.WARNING, "service"):
        loaded = registry(tmp_path)
    assert loaded.find("bolt").checkpoint == ONE
    with pytest.raises(NoSuchCategory):
        loaded.find("nut")
    assert loaded.refusals == []
    (warning,) = caplog.messages
    assert "parts/2 is unfinished (3 of 100 epochs done)" in warning
    assert loaded.version("parts", "2").unfinished == "3 of 100 epochs done"
    loaded.apply(State().with_route("bolt", Assignment(stable=TWO)))
    assert loaded.find("bolt").checkpoint == TWO


def test_a_name_without_a_finished_version_serves_nothing_and_says_why(registry, tmp_path, save):
    rewrite(save(tmp_path, "parts", {"bolt": 0.5}), training=INTERRUPTED)
    loaded = registry(tmp_path)
    assert (loaded.routes, loaded.checkpoints) == ([], ())
    (refusal,) = loaded.refusals
    assert refusal.checkpoint == ONE
    assert "unfinished (3 of 100 epochs done)" in refusal.reason
    loaded.apply(State().with_route("bolt", Assignment(stable=ONE)))
    assert loaded.find("bolt").checkpoint == ONE
    assert loaded.refusals == []


@pytest.mark.parametrize(
    "training",
    [{}, {"finished": True}, {"finished": False, "ended": "out of time"}, {"finished": None}],
    ids=["from before", "finished", "out of time", "not said"],
)
def test_what_says_nothing_or_was_given_so_much_time_is_finished(
    registry, tmp_path, save, training
):
    save(tmp_path, "parts", {"bolt": 0.5})
    rewrite(save(tmp_path, "parts", {"bolt": 0.5}), training=training)
    assert registry(tmp_path).find("bolt").checkpoint == TWO


def test_a_manifest_that_does_not_fit_together_is_refused(registry, tmp_path, save):
    rewrite(save(tmp_path, "parts", {"bolt": 0.5}), preprocessing={"image_size": [0, 0]})
    loaded = registry(tmp_path)
    assert loaded.routes == []
    assert "is inconsistent" in loaded.refusals[0].reason


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
    loaded = registry(tmp_path)
    key = CheckpointKey("parts", "1")
    loaded.report("cpu", {key: f"{tmp_path}/parts/1 is damaged"})
    assert loaded.routes == []
    assert loaded.refusals == [(key, "weights/parts/1 is damaged")]
    assert loaded.checkpoints == (key,)
    with pytest.raises(CheckpointUnavailable, match="parts/1"):
        loaded.find("bolt")
    info = {"category": "bolt", "model": "parts", "version": "1"}
    assert metrics.registry.get_sample_value("mambaad_category_info", info) is None
    assert metrics.registry.get_sample_value("mambaad_checkpoints_refused") == 1
    loaded.report("cpu", {})
    assert loaded.find("bolt").checkpoint == key
    assert metrics.registry.get_sample_value("mambaad_category_info", info) == 1
    assert metrics.registry.get_sample_value("mambaad_checkpoints_refused") == 0


def test_a_reason_tells_no_path_of_the_machine_though_the_store_is_relative(
    registry, tmp_path, save, monkeypatch
):
    save(tmp_path / "store", "parts", {"bolt": 0.5})
    monkeypatch.chdir(tmp_path)
    loaded = registry(Path("store"))
    loaded.report("cpu", {CheckpointKey("parts", "1"): f"{tmp_path}/store/parts/1 is damaged"})
    assert loaded.refusals[0].reason == "weights/parts/1 is damaged"


def test_one_of_two_workers_is_enough_to_refuse(registry, tmp_path, save):
    save(tmp_path, "parts", {"bolt": 0.5})
    loaded = registry(tmp_path)
    loaded.report("cpu", {CheckpointKey("parts", "1"): "damaged"})
    loaded.report("cuda:0", {})
    assert loaded.routes == []


ONE, TWO = CheckpointKey("parts", "1"), CheckpointKey("parts", "2")
NOW = datetime(2026, 3, 4, tzinfo=UTC)


def test_what_was_routed_serves_though_there_is_a_newer_one(registry, tmp_path, save):
    for _ in range(2):
        save(tmp_path, "parts", {"bolt": 0.5, "nut": 0.5})
    loaded = registry(tmp_path, State().with_route("bolt", Assignment(stable=ONE)))
    assert (loaded.find("bolt").checkpoint, loaded.find("nut").checkpoint) == (ONE, TWO)
    assert loaded.checkpoints == (ONE, TWO)
    assert loaded.roles(ONE) == [("bolt", Role.STABLE)]


def test_a_route_to_what_is_gone_makes_its_category_unavailable(registry, tmp_path, save):
    save(tmp_path, "parts", {"bolt": 0.5, "nut": 0.5})
    loaded = registry(tmp_path, State().with_route("bolt", Assignment(stable=TWO)))
    with pytest.raises(CheckpointUnavailable, match=r"parts/2.*'bolt'"):
        loaded.find("bolt")
    assert loaded.find("nut").checkpoint == ONE
    assert loaded.refusals[0].checkpoint == TWO
    assert "not in the store" in loaded.refusals[0].reason
    loaded.apply(State().with_route("bolt", Assignment(stable=ONE)))
    assert loaded.find("bolt").checkpoint == ONE
    assert loaded.refusals == []


def test_a_new_version_is_found_and_does_not_serve_unasked(registry, tmp_path, save):
    save(tmp_path, "parts", {"bolt": 0.5})
    loaded = registry(tmp_path)
    with pytest.raises(NoSuchModel, match=r"'2'.*have: parts/1"):
        loaded.version("parts", "2")
    save(tmp_path, "parts", {"bolt": 0.5, "nut": 0.5})
    assert loaded.rescan() == [TWO]
    assert loaded.rescan() == []
    assert loaded.version("parts", "2").categories == ("bolt", "nut")
    assert loaded.find("bolt").checkpoint == ONE
    with pytest.raises(NoSuchCategory):
        loaded.find("nut")


def test_what_serves_stays_as_it_was_found(registry, tmp_path, save, calibration):
    folder = save(tmp_path, "parts", {"bolt": 0.5})
    loaded = registry(tmp_path)
    rewrite(folder, calibrations={"bolt": calibration(0.7).to_dict()})
    loaded.rescan()
    assert loaded.find("bolt").calibration.image_threshold == 0.5
    loaded.take_up(loaded.read(ONE))
    assert loaded.find("bolt").calibration.image_threshold == 0.7
    shutil.rmtree(folder)
    loaded.rescan()
    assert loaded.read(ONE) is None
    assert loaded.find("bolt").calibration.image_threshold == 0.7


def test_what_left_the_store_and_does_not_serve_is_forgotten(registry, tmp_path, save):
    folders = [save(tmp_path, "parts", {"bolt": 0.5}) for _ in range(2)]
    loaded = registry(tmp_path)
    shutil.rmtree(folders[0])
    loaded.rescan()
    assert [version.key for version in loaded.versions] == [TWO]


def test_a_version_that_could_not_be_read_is_read_again(registry, tmp_path, save):
    save(tmp_path, "parts", {"bolt": 0.5})
    path = save(tmp_path, "parts", {"bolt": 0.5}) / "manifest.json"
    original = path.read_text("utf-8")
    path.write_text("{", "utf-8")
    loaded = registry(tmp_path, State().with_route("bolt", Assignment(stable=ONE)))
    assert loaded.refusals == []
    assert "JSON" in loaded.problem(TWO)
    path.write_text(original, "utf-8")
    loaded.rescan()
    assert loaded.problem(TWO) is None


def test_a_canary_gets_its_share_and_each_key_the_same_version(registry, tmp_path, save):
    for _ in range(2):
        save(tmp_path, "parts", {"bolt": 0.5})
    canary = Canary(checkpoint=TWO, share=0.5)
    loaded = registry(tmp_path, State().with_route("bolt", Assignment(stable=ONE, canary=canary)))
    routes = {key: loaded.find("bolt", key) for key in map(str, range(100))}
    assert {(r.checkpoint, r.role) for r in routes.values()} == {
        (ONE, Role.STABLE), (TWO, Role.CANARY)
    }  # fmt: skip
    assert all(loaded.find("bolt", key) == route for key, route in routes.items())
    assert loaded.find("bolt").checkpoint == ONE
    loaded.report("cpu", {TWO: "damaged"})
    assert {loaded.find("bolt", key).checkpoint for key in routes} == {ONE}
    assert loaded.find("bolt").checkpoint == ONE


def test_a_shadow_comes_with_the_route_until_it_cannot_be_used(registry, tmp_path, save):
    for _ in range(2):
        save(tmp_path, "parts", {"bolt": 0.5})
    loaded = registry(tmp_path, State().with_route("bolt", Assignment(stable=ONE, shadow=TWO)))
    shadow = loaded.find("bolt").shadow
    assert (shadow.checkpoint, shadow.role) == (TWO, Role.SHADOW)
    loaded.report("cpu", {TWO: "damaged"})
    assert loaded.find("bolt").shadow is None
    loaded.accept(TWO)
    assert loaded.find("bolt").shadow == shadow


def test_a_threshold_is_of_one_version_and_of_no_other(registry, tmp_path, save):
    for _ in range(2):
        save(tmp_path, "parts", {"bolt": 0.5})
    loaded = registry(tmp_path)
    before = loaded.find("bolt")
    threshold = Threshold(threshold=0.9, review_threshold=0.8, who="Ada", reason="lamp", at=NOW)
    loaded.apply(State().with_threshold("bolt", "parts/2", threshold))
    route = loaded.find("bolt")
    assert (route.calibration.image_threshold, route.calibration.review_threshold) == (0.9, 0.8)
    assert "Set by Ada on 2026-03-04, which makes no promise" in route.promise
    assert before.calibration.image_threshold == 0.5
    assert loaded.calibration("bolt", TWO).image_threshold == 0.5
    loaded.apply(State().with_route("bolt", Assignment(stable=ONE)))
    assert loaded.find("bolt").calibration.image_threshold == 0.5
