"""Counters whose labels are known in advance start at 0; no others become series."""

import pytest
from prometheus_client import CollectorRegistry, Counter
from starlette.datastructures import Headers

from model.checkpoints.key import CheckpointKey
from model.checkpoints.store import Store
from model.inspection import Decision
from service.access.guard import Guard
from service.access.keys import add_key
from service.app import create_app
from service.errors import NoSuchCategory, Unauthenticated
from service.http.declaration import Scope
from service.http.matching import UNMATCHED, likely_codes
from service.problem_types import PROBLEM_TYPES
from service.settings import AccessSettings, Settings, VersionSettings
from service.telemetry.metrics import OTHER
from service.telemetry.metrics.labels import from_zero
from service.versions.assignment import Assignment, Canary
from service.versions.registry import Registry
from service.versions.state import State


def series(metrics, name):
    """Values of a counter's series, by their label values."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_every_combination_is_a_series_and_what_was_counted_stays():
    counter = Counter("c", "c", ("a", "b"), registry=CollectorRegistry())
    counter.labels("1", "x").inc()
    from_zero(counter, ["1", "2"], ["x", "y"])
    values = {tuple(s.labels.values()): s.value for s in counter.collect()[0].samples[::2]}
    assert values == {("1", "x"): 1, ("1", "y"): 0, ("2", "x"): 0, ("2", "y"): 0}


def test_a_category_is_counted_from_when_it_is_served(metrics, tmp_path, save):
    save(tmp_path, "parts", {"bolt": 0.5})
    registry = Registry(Store(tmp_path), metrics)
    decided = {("bolt", decision): 0.0 for decision in Decision}
    assert series(metrics, "mambaad_decisions_total") == decided
    assert series(metrics, "mambaad_score_count") == {("bolt",): 0}
    assert series(metrics, "mambaad_deployment_changes_total").keys() == {
        ("bolt", "route"),
        ("bolt", "threshold"),
    }
    assert series(metrics, "mambaad_shadow_inspections_total") == {}

    save(tmp_path, "parts", {"bolt": 0.5, "nut": 0.5})
    save(tmp_path, "parts", {"bolt": 0.5})
    registry.rescan()
    assert series(metrics, "mambaad_decisions_total") == decided
    first, second, third = (CheckpointKey("parts", version) for version in "123")
    state = State().with_route("nut", Assignment(stable=second))
    canary = Canary(checkpoint=second, share=0.1)
    registry.apply(state.with_route("bolt", Assignment(stable=first, canary=canary, shadow=third)))
    decided |= {("nut", decision): 0.0 for decision in Decision}
    assert series(metrics, "mambaad_decisions_total") == decided
    assert series(metrics, "mambaad_routed_total") == {
        ("bolt", "parts", "1", "stable"): 0,
        ("bolt", "parts", "2", "canary"): 0,
        ("nut", "parts", "2", "stable"): 0,
    }
    assert series(metrics, "mambaad_shadow_inspections_total").keys() == {
        ("bolt", outcome) for outcome in ("agrees", "differs", "failed", "left out")
    }


def test_a_category_that_serves_no_more_keeps_its_counts(metrics, tmp_path, save):
    save(tmp_path, "parts", {"bolt": 0.5})
    registry = Registry(Store(tmp_path), metrics)
    save(tmp_path, "parts", {"nut": 0.5})
    registry.rescan()
    nut = Assignment(stable=CheckpointKey("parts", "2"))
    registry.apply(State().with_route("nut", nut))
    metrics.decisions.labels("nut", "NG").inc()
    registry.apply(State())
    with pytest.raises(NoSuchCategory):
        registry.find("nut")
    assert series(metrics, "mambaad_decisions_total")["nut", "NG"] == 1


def test_an_unknown_category_is_no_series(server, client, image):
    before = series(server.app.state.metrics, "mambaad_decisions_total")
    for number in range(5):
        answer = client.post(f"/detect?category=never-{number}", content=image())
        assert answer.status_code == 404
    after = series(server.app.state.metrics, "mambaad_decisions_total")
    assert after.keys() == before.keys()


def test_the_refusals_of_a_key_are_counted_from_when_it_is_read(metrics, tmp_path, monkeypatch):
    path = tmp_path / "keys.json"
    add_key(path, "line-1", [Scope.DETECT])
    guard = Guard(AccessSettings(api_keys_file=path), metrics, needs_keys=True)
    assert series(metrics, "mambaad_rate_limited_total") == {("anonymous",): 0, ("line-1",): 0}
    add_key(path, "line-2", [Scope.DETECT])
    monkeypatch.setattr(guard._ring, "_clock", lambda: 1e9)
    with pytest.raises(Unauthenticated):
        guard.identify("POST", Headers({"x-api-key": "wrong"}), "127.0.0.1")
    assert series(metrics, "mambaad_rate_limited_total").keys() == {
        ("anonymous",),
        ("line-1",),
        ("line-2",),
    }


def test_many_keys_are_a_bounded_number_of_series(metrics):
    metrics.expect_keys(f"line-{number}" for number in range(500))
    keys = {key for (key,) in series(metrics, "mambaad_rate_limited_total")}
    assert len(keys) == 65
    assert OTHER in keys


def test_routes_expect_what_they_declare_and_those_that_inspect_every_problem(tmp_path):
    app = create_app(Settings(versions=VersionSettings(weights_dir=tmp_path)))
    codes = likely_codes(app.routes)
    problems = {kind.status for kind in PROBLEM_TYPES.values()}
    for route in ("/detect", "/detect/batch", "/v2/models/{model}/infer", UNMATCHED):
        assert codes[route] == problems | {0, 200, 405}
    assert codes["/livez"] == {0, 200, 405, 422, 499, 500, 503}
    assert {409, 422} <= codes["/models/{name}/{version}/load"]
    counted = series(app.state.metrics, "mambaad_requests_total")
    assert counted.keys() == {(route, str(code)) for route in codes for code in codes[route]}
    assert set(counted.values()) == {0}
