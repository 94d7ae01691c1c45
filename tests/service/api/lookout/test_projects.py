"""Lookout's projects and models, listed and started with botocore's client."""

import shutil
from contextlib import closing
from datetime import datetime

import pytest

from model.checkpoints.key import CheckpointKey
from service.settings import Settings, VersionSettings, WorkerSettings
from service.versions.assignment import Assignment, Canary
from service.versions.state import State
from tests.service.api.lookout.test_routes import create


@pytest.fixture(scope="module")
def lookout(server):
    with closing(create(server, "any")) as client:
        yield client


def test_projects_are_the_categories(lookout):
    projects = lookout.list_projects()["Projects"]
    names = [project["ProjectName"] for project in projects]
    assert {"bolt", "nut"} < set(names)
    assert names == sorted(names)
    described = lookout.describe_project(ProjectName="bolt")["ProjectDescription"]
    assert described["ProjectName"] == "bolt"
    assert described["ProjectArn"].endswith("project/bolt")
    assert isinstance(described["CreationTimestamp"], datetime)
    assert described["Datasets"] == []


def test_projects_are_listed_page_by_page(lookout):
    at_once = lookout.list_projects()["Projects"]
    paginator = lookout.get_paginator("list_projects")
    pages = list(paginator.paginate(PaginationConfig={"PageSize": 1}))
    assert len(pages) == len(at_once) > 1
    assert [project for page in pages for project in page["Projects"]] == at_once


@pytest.mark.parametrize("token", ["x", "-1", "9" * 30])
def test_a_token_that_was_not_answered_is_not_valid(lookout, token):
    with pytest.raises(lookout.exceptions.ValidationException, match="nextToken"):
        lookout.list_models(ProjectName="bolt", NextToken=token)


@pytest.mark.parametrize("version", ["1", "latest"])
def test_a_model_that_serves_is_hosted(lookout, version):
    """Like in Amazon's examples: start, then describe until it is hosted."""
    started = lookout.start_model(ProjectName="bolt", ModelVersion=version, MinInferenceUnits=1)
    assert started["Status"] == "HOSTED"
    assert started["ResponseMetadata"]["HTTPStatusCode"] == 202
    model = lookout.describe_model(ProjectName="bolt", ModelVersion=version)["ModelDescription"]
    assert (model["ModelVersion"], model["Status"]) == ("1", "HOSTED")
    assert isinstance(model["CreationTimestamp"], datetime)
    (listed,) = lookout.list_models(ProjectName="bolt")["Models"]
    assert (listed["ModelVersion"], listed["Status"]) == ("1", "HOSTED")
    stopped = lookout.stop_model(ProjectName="bolt", ModelVersion=version)
    assert stopped["Status"] == "HOSTED"  # still hosted


def test_a_model_that_cannot_be_loaded_says_why(lookout):
    model = lookout.describe_model(ProjectName="rust", ModelVersion="latest")["ModelDescription"]
    assert model["Status"] == "HOSTING_FAILED"
    assert "network.safetensors" in model["StatusMessage"]
    started = lookout.start_model(ProjectName="rust", ModelVersion="1", MinInferenceUnits=1)
    assert started["Status"] == "HOSTING_FAILED"


CALLS = {
    "describe_model": {"ModelVersion": "7"},
    "start_model": {"ModelVersion": "7", "MinInferenceUnits": 1},
    "stop_model": {"ModelVersion": "7"},
    "describe_project": {},
    "list_models": {},
}


@pytest.mark.parametrize("call", CALLS)
def test_what_is_not_there_is_not_found(lookout, call):
    with pytest.raises(lookout.exceptions.ResourceNotFoundException) as refusal:
        getattr(lookout, call)(ProjectName="botle", **CALLS[call])
    error = refusal.value.response
    assert (error["ResourceId"], error["ResourceType"]) == ("botle", "PROJECT")
    assert "have: bolt" in error["Error"]["Message"]
    if CALLS[call]:
        with pytest.raises(lookout.exceptions.ResourceNotFoundException) as refusal:
            getattr(lookout, call)(ProjectName="bolt", **CALLS[call])
        error = refusal.value.response
        assert (error["ResourceId"], error["ResourceType"]) == ("7", "MODEL")
        assert "have: 1" in error["Error"]["Message"]


@pytest.mark.parametrize(
    ("content", "content_type"),
    [(b"{}", "application/json"), (b"[", "application/json"), (b"{}", "text/plain"),
     (b'{"MinInferenceUnits":0}', "application/json"), (b"[" * 20_000, "application/json")],
)  # fmt: skip
def test_a_start_that_is_not_valid(client, content, content_type):
    response = client.post(
        "/2020-11-20/projects/bolt/models/1/start",
        content=content,
        headers={"Content-Type": content_type},
    )
    assert response.status_code == 400
    assert response.headers["x-amzn-errortype"] == "ValidationException"


@pytest.fixture(scope="module")
def starting(start_server, weights, tmp_path_factory, save):
    """A server that has not loaded anything yet, with a version that serves nothing."""
    root = tmp_path_factory.mktemp("lookout") / "weights"
    shutil.copytree(weights / "parts", root / "parts")
    save(root, "parts", {"bolt": 10.0, "nut": -10.0})
    settings = Settings(
        versions=VersionSettings(weights_dir=root), workers=WorkerSettings(stop_grace_s=0.1)
    )
    with start_server(settings) as server:
        yield server


def test_a_model_is_starting_until_the_service_is_ready(starting, eventually):
    with closing(create(starting, "any")) as client:

        def status(version):
            model = client.describe_model(ProjectName="bolt", ModelVersion=version)
            return model["ModelDescription"]["Status"]

        assert status("2") in {"STARTING_HOSTING", "HOSTED"}
        assert status("1") == "TRAINED"
        with pytest.raises(client.exceptions.ConflictException, match="operator") as refusal:
            client.start_model(ProjectName="bolt", ModelVersion="1", MinInferenceUnits=1)
        error = refusal.value.response
        assert (error["ResourceId"], error["ResourceType"]) == ("1", "MODEL")
        eventually(lambda: status("latest") == "HOSTED")
        assert status("2") == "HOSTED"
        first, second = (CheckpointKey("parts", number) for number in "12")
        canary = Assignment(stable=second, canary=Canary(checkpoint=first, share=0.5))
        starting.app.state.service.registry.apply(State(routes={"bolt": canary}))
        assert status("1") == "HOSTED"
