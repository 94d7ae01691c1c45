"""DetectAnomalies with botocore's client."""

import base64
from contextlib import closing
from io import BytesIO

import numpy as np
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.session import Session
from PIL import Image

from model.inspection import Decision
from service.access.keys import add_key
from service.api.lookout.errors import exception_of
from service.api.lookout.routes import confidence, write
from service.errors import QueueFull
from service.http.declaration import Scope
from service.inspection.pipeline import Pipeline
from service.problem_types import PROBLEM_TYPES
from service.settings import AccessSettings, Settings, VersionSettings, WorkerSettings
from service.workers.pipe.messages import Finding


def create(server, access_key, **config):
    return Session().create_client(
        "lookoutvision",
        region_name="eu-west-1",
        endpoint_url=server.url,
        aws_access_key_id=access_key,
        aws_secret_access_key=access_key and "any",
        config=Config(retries={"max_attempts": 0}, **config),
    )


@pytest.fixture(scope="module")
def lookout(server):
    with closing(create(server, "any")) as client:
        yield client


def detect(client, content, project="bolt", version="1", kind="image/png"):
    return client.detect_anomalies(
        ProjectName=project, ModelVersion=version, Body=content, ContentType=kind
    )


def finding(decision, score, scores=None):
    return Finding(decision, score, score, 0.5, (), {}, scores)


def mask_of(result):
    return np.asarray(Image.open(BytesIO(result["AnomalyMask"])))


def test_a_good_part(lookout, image):
    answer = detect(lookout, image(96, 48))
    result = answer["DetectAnomalyResult"]
    assert result["Source"] == {"Type": "direct"}
    assert result["IsAnomalous"] is False
    assert 0.5 < result["Confidence"] < 1
    white = {"TotalPercentageArea": 1.0, "Color": "#FFFFFF"}
    assert result["Anomalies"] == [{"Name": "background", "PixelAnomaly": white}]
    assert mask_of(result).shape == (48, 96, 3)
    assert (mask_of(result) == 255).all()
    metadata = answer["ResponseMetadata"]
    assert metadata["RequestId"] == metadata["HTTPHeaders"]["x-request-id"]
    assert metadata["HTTPHeaders"]["x-decision"] == "OK"


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_anomalous_part(lookout, image, kind):
    content = image(96, 48, kind)
    result = detect(lookout, BytesIO(content), "nut", "latest", f"image/{kind.lower()}")
    result = result["DetectAnomalyResult"]
    assert result["IsAnomalous"] is True
    assert 0.5 < result["Confidence"] < 1
    background, anomaly = result["Anomalies"]
    assert background["PixelAnomaly"]["TotalPercentageArea"] == 0.0
    assert anomaly["Name"] == "anomaly"
    assert anomaly["PixelAnomaly"]["TotalPercentageArea"] == 1.0
    colour = tuple(bytes.fromhex(anomaly["PixelAnomaly"]["Color"].removeprefix("#")))
    assert {tuple(pixel) for row in mask_of(result).tolist() for pixel in row} == {colour}


def test_mask_and_area_say_which_pixels_are_over_the_threshold():
    scores = np.full((8, 8), 0.2, np.float32)
    scores[:, 6:] = 0.9
    result = write(finding(Decision.NG, 0.8, scores), (80, 40)).DetectAnomalyResult
    mask = np.asarray(Image.open(BytesIO(base64.b64decode(result.AnomalyMask))))
    assert mask.shape == (40, 80, 3)
    covered = (mask != 255).any(axis=-1)
    assert covered[:, 62:].all()
    assert not covered[:, :58].any()
    shares = [anomaly.PixelAnomaly.TotalPercentageArea for anomaly in result.Anomalies]
    assert shares == pytest.approx([1 - covered.mean(), covered.mean()])


def test_an_unknown_project_or_version_is_not_found(lookout, image):
    with pytest.raises(lookout.exceptions.ResourceNotFoundException) as refusal:
        detect(lookout, image(), "botle")
    error = refusal.value.response
    assert error["Error"]["Code"] == "ResourceNotFoundException"
    assert "have: bolt" in error["Error"]["Message"]
    assert (error["ResourceId"], error["ResourceType"]) == ("botle", "PROJECT")
    with pytest.raises(lookout.exceptions.ResourceNotFoundException) as refusal:
        detect(lookout, image(), version="7")
    assert (refusal.value.response["ResourceId"], refusal.value.response["ResourceType"]) == (
        "7",
        "MODEL",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(100), "not a supported image format"),
        (bytes(300_000), "200000 bytes"),
    ],
)
def test_a_body_that_is_no_image_is_not_valid(lookout, content, message):
    with pytest.raises(lookout.exceptions.ValidationException, match=message) as refusal:
        detect(lookout, content)
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_part_that_was_not_inspected_is_an_error(lookout, image):
    for project in ("ghost", "rust"):
        with pytest.raises(lookout.exceptions.InternalServerException) as refusal:
            detect(lookout, image(), project)
        assert refusal.value.response["Error"]["Message"]
        headers = refusal.value.response["ResponseMetadata"]["HTTPHeaders"]
        assert (headers["x-decision"], headers["x-fail-safe"]) == ("UNDECIDED", "NG")


def test_a_failure_of_the_services_own_leaks_nothing(server, lookout, image, monkeypatch):
    def fail(*_):
        raise RuntimeError("a secret")

    monkeypatch.setattr(server.app.state.service.registry, "find", fail)
    with pytest.raises(lookout.exceptions.InternalServerException) as refusal:
        detect(lookout, image())
    assert "secret" not in str(refusal.value)
    assert any(record.exc_info for record in server.log)


def test_a_full_queue_throttles(server, lookout, image, monkeypatch):
    async def refuse(*_):
        raise QueueFull("5 images are waiting", retry_after_s=7)

    monkeypatch.setattr(Pipeline, "inspect", refuse)
    with pytest.raises(lookout.exceptions.ThrottlingException) as refusal:
        detect(lookout, image())
    assert refusal.value.response["Error"]["Message"] == "5 images are waiting"
    assert refusal.value.response["RetryAfterSeconds"] == 7


@pytest.fixture(scope="module")
def keyed(start_server, tmp_path_factory):
    """A server without checkpoints that requires keys, and a key."""
    folder = tmp_path_factory.mktemp("keyed")
    keys = folder / "keys.json"
    secret = add_key(keys, "line", [Scope.DETECT])
    settings = Settings(
        versions=VersionSettings(weights_dir=folder / "weights"),
        access=AccessSettings(api_keys_file=keys),
        workers=WorkerSettings(stop_grace_s=0.1),
    )
    with start_server(settings) as server:
        yield server, secret


@pytest.mark.parametrize("how", ["access key", "header"])
def test_a_key_is_the_id_of_an_access_key_or_a_header(keyed, image, how):
    server, secret = keyed
    if how == "access key":
        client = create(server, secret)
    else:
        client = create(server, None, signature_version=UNSIGNED)
        client.meta.events.register(
            "before-sign.lookoutvision.*",
            lambda request, **_: request.headers.add_header("X-API-Key", secret),
        )
    with closing(client), pytest.raises(client.exceptions.ResourceNotFoundException):
        detect(client, image())


def test_a_wrong_key_is_denied(keyed, image):
    server, _ = keyed
    with closing(create(server, "AKIAWRONG")) as client:
        with pytest.raises(client.exceptions.AccessDeniedException) as refusal:
            detect(client, image())
        assert "key" in refusal.value.response["Error"]["Message"]


def test_a_part_for_review_is_not_passed():
    scores = np.zeros((8, 8), np.float32)
    result = write(finding(Decision.REVIEW, 0.4, scores), (8, 8)).DetectAnomalyResult
    assert result.IsAnomalous
    assert result.Confidence == 0.5
    assert [anomaly.Name for anomaly in result.Anomalies] == ["background"]


def test_every_problem_has_an_exception():
    exceptions = {
        kind.slug: exception_of(kind.slug, kind.status) for kind in PROBLEM_TYPES.values()
    }
    assert (
        exceptions["queue-full"] == exceptions["deadline-exceeded"] == ("ThrottlingException", 429)
    )
    assert exceptions["no-worker-ready"] == ("InternalServerException", 500)
    assert exceptions["undecodable-image"] == ("ValidationException", 400)
    retryable = {"ThrottlingException", "InternalServerException"}
    for kind in PROBLEM_TYPES.values():
        if kind.status >= 500:
            assert exceptions[kind.slug][0] in retryable


def test_other_operations_are_not_found(lookout, server):
    with pytest.raises(lookout.exceptions.ResourceNotFoundException, match="GET"):
        lookout.describe_dataset(ProjectName="bolt", DatasetType="train")
    assert server.metric("mambaad_requests_total", route="unmatched", code="404") > 0


@pytest.mark.parametrize(
    ("decision", "score", "expected"),
    [
        (Decision.OK, 0.1, 0.9),
        (Decision.OK, 0.5, 0.5),
        (Decision.NG, 0.7, 0.7),
        (Decision.REVIEW, 0.45, 0.5),
        (Decision.REVIEW, 0.5, 0.5),
    ],
)
def test_confidence_is_the_distance_from_the_threshold(decision, score, expected):
    assert confidence(finding(decision, score)) == pytest.approx(expected)
