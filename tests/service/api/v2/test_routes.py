"""The Open Inference Protocol, with NVIDIA's client, and with invalid requests."""

import base64
import gzip
import zlib
from io import BytesIO

import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

from service.api.v2.codec import HEADER_LENGTH
from service.errors import QueueFull
from service.identifiers import parse_id
from service.inspection.options import PartFields
from service.inspection.pipeline import Pipeline
from service.workers.jobs import Priority

COLUMNS = ["score", "raw_score", "threshold", "decision"]


@pytest.fixture
def v2(server):
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        yield client


def files(*contents, shape=None, binary=True):
    values = np.array([None] * len(contents), dtype=object)
    values[:] = contents
    values = values.reshape(shape or [len(contents)])
    given = triton.InferInput("image", list(values.shape), "BYTES")
    return given.set_data_from_numpy(values, binary_data=binary)


def pixels(values, binary=True):
    datatype = {"uint8": "UINT8", "float32": "FP32"}[values.dtype.name]
    given = triton.InferInput("image", list(values.shape), datatype)
    return given.set_data_from_numpy(values, binary_data=binary)


def noise(n=2, height=32, width=48):
    return np.random.default_rng(3).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def outputs(*names, binary=True):
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def decisions(result):
    """Bytes after the JSON, or text in it."""
    values = result.as_numpy("decision").tolist()
    return [value if isinstance(value, str) else value.decode() for value in values]


def test_the_server_is_live_and_ready(v2):
    assert v2.is_server_live()
    assert v2.is_server_ready()
    metadata = v2.get_server_metadata()
    assert metadata["name"] == "mambaad"
    assert metadata["version"]
    assert "binary_tensor_data" in metadata["extensions"]


def test_a_model_is_ready_if_its_category_is(v2):
    assert v2.is_model_ready("bolt")
    assert v2.is_model_ready("bolt", "1")
    assert not v2.is_model_ready("bolt", "2")
    assert not v2.is_model_ready("botle")
    assert not v2.is_model_ready("rust")


def test_metadata_names_the_tensors(v2):
    for metadata in (v2.get_model_metadata("bolt"), v2.get_model_metadata("bolt", "1")):
        assert (metadata["name"], metadata["versions"]) == ("bolt", ["1"])
        (given,) = metadata["inputs"]
        assert (given["name"], given["datatype"], given["shape"]) == ("image", "BYTES", [-1])
        assert [tensor["name"] for tensor in metadata["outputs"]] == [*COLUMNS, "anomaly_map"]
        assert metadata["outputs"][-1] == {
            "name": "anomaly_map",
            "datatype": "FP32",
            "shape": [-1, 64, 64],
        }


def test_the_index_tells_what_serves_and_what_cannot(v2, client):
    index = v2.get_model_repository_index()
    states = {entry["name"]: entry["state"] for entry in index}
    assert states["bolt"] == states["nut"] == "READY"
    assert states["rust"] == "UNAVAILABLE"
    assert all(entry["reason"] for entry in index if entry["state"] == "UNAVAILABLE")
    ready = client.post("/v2/repository/index", json={"ready": True}).json()
    assert {entry["state"] for entry in ready} == {"READY"}
    assert client.post("/v2/repository/index", content=b"{").status_code == 400


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_files_are_inspected_in_binary_and_in_json(v2, client, image, binary_in, binary_out):
    contents = [image(seed=i) for i in range(3)]
    given = [base64.b64encode(content) for content in contents] if not binary_in else contents
    result = v2.infer(
        "nut", [files(*given, binary=binary_in)], outputs=outputs(*COLUMNS, binary=binary_out)
    )
    posted = [client.post("/detect?category=nut", content=content).json() for content in contents]
    expected = [answer["results"][0] for answer in posted]
    assert decisions(result) == ["NG"] * 3
    for name in ("score", "raw_score", "threshold"):
        wanted = [answer[name] for answer in expected]
        assert result.as_numpy(name).tolist() == pytest.approx(wanted, rel=1e-4)
    assert result.as_numpy("threshold").tolist() == [-10.0] * 3
    assert (result.get_response()["model_name"], result.get_response()["model_version"]) == (
        "nut",
        "1",
    )


def test_outputs_are_all_but_the_map_if_none_is_asked_for(v2, image):
    result = v2.infer("bolt", [files(image(), shape=[1, 1])])
    assert [output["name"] for output in result.get_response()["outputs"]] == COLUMNS
    assert decisions(result) == ["OK"]
    assert result.as_numpy("score").dtype == np.float32


@pytest.mark.parametrize("binary", [True, False])
def test_pixels_are_inspected_as_the_file_would_be(v2, image, binary):
    """A PNG keeps every pixel, so the file, UINT8 and FP32 are the same image."""
    content = image(48, 32)
    values = np.asarray(Image.open(BytesIO(content)))[None]
    raw = [
        v2.infer("bolt", [given], parameters=parameters).as_numpy("raw_score").tolist()
        for given, parameters in (
            (files(content), None),
            (pixels(values, binary), None),
            (pixels(values.astype(np.float32) / 255, binary), None),
            (
                pixels(np.ascontiguousarray(values.transpose(0, 3, 1, 2)), binary),
                {"layout": "NCHW"},
            ),
        )
    ]
    assert raw[0] == raw[1] == raw[2] == raw[3]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_bodies_are_compressed_both_ways(v2, coding):
    values = noise()
    result = v2.infer(
        "nut",
        [pixels(values)],
        outputs=outputs("anomaly_map", "decision"),
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert result.as_numpy("anomaly_map").shape == (2, 64, 64)
    assert decisions(result) == ["NG", "NG"]


def test_an_answer_is_compressed_as_asked(client):
    values = noise()
    infer_request = {
        "inputs": [
            {
                "name": "image",
                "datatype": "UINT8",
                "shape": list(values.shape),
                "data": values.ravel().tolist(),
            }
        ],
        "outputs": [{"name": "anomaly_map"}],
    }
    sizes = {}
    for coding in ("gzip", "deflate", "identity"):
        response = client.post(
            "/v2/models/nut/infer", json=infer_request, headers={"Accept-Encoding": coding}
        )
        assert response.headers.get("content-encoding", "identity") == coding
        assert response.headers["vary"] == "Accept-Encoding"
        assert response.headers["content-type"] == "application/json"
        assert response.json()["outputs"][0]["shape"] == [2, 64, 64]
        sizes[coding] = int(response.headers["content-length"])
    assert sizes["gzip"] < sizes["identity"]


def test_the_map_is_the_score_of_each_pixel(v2, image):
    def over(category):
        result = v2.infer(category, [files(image())], outputs=outputs("anomaly_map"))
        return result.as_numpy("anomaly_map") > 0.5

    assert over("nut").all()
    assert not over("bolt").any()


def test_each_image_has_its_own_map_and_score(v2, image):
    contents = [image(seed=i) for i in range(4)]
    wanted = outputs("anomaly_map", "raw_score")
    together = v2.infer("nut", [files(*contents)], outputs=wanted)
    for i, content in enumerate(contents):
        alone = v2.infer("nut", [files(content)], outputs=wanted)
        for name in ("anomaly_map", "raw_score"):
            assert together.as_numpy(name)[i] == pytest.approx(alone.as_numpy(name)[0], rel=1e-3)
    scores = together.as_numpy("raw_score")
    assert len(set(scores.tolist())) == 4


def test_id_and_foreign_parameters_are_echoed(v2, image):
    result = v2.infer(
        "bolt",
        [files(image())],
        request_id="part 7",
        priority=1,
        timeout=20_000_000,
        parameters={"part_id": "7", "lot": 12, "layout": "NHWC"},
    )
    response = result.get_response()
    assert response["id"] == "part 7"
    inspection_id = response["parameters"].pop("inspection_id")
    assert parse_id(inspection_id)
    assert response["parameters"] == {"part_id": "7", "lot": 12, "engine": "torch, float32"}
    response = v2.infer("bolt", [files(image())]).get_response()
    assert "id" not in response
    assert response["parameters"].keys() == {"inspection_id", "engine"}


def test_parameters_reach_the_pipeline(server, v2, image, monkeypatch):
    given = []

    async def attempt(_, __, ___, options):
        given.append(options)
        raise QueueFull("enough is known")

    monkeypatch.setattr(Pipeline, "attempt", attempt)
    with pytest.raises(InferenceServerException, match="enough"):
        v2.infer(
            "bolt",
            [files(image())],
            priority=1,
            timeout=2_500_000,
            parameters={"part_id": "7", "station": "3", "meta": {"lot": 12}},
        )
    with pytest.raises(InferenceServerException, match="enough"):
        v2.infer("bolt", [files(image())], priority=2)
    first, second = given
    assert (first.priority, first.timeout_s) == (Priority.HIGH, 2.5)
    assert first.part == PartFields(part_id="7", station="3", meta={"lot": 12})
    assert (second.priority, second.timeout_s) == (Priority.NORMAL, None)


def test_one_image_that_fails_fails_its_request(v2, image):
    """An image of the batch that failed must never seem inspected."""
    with pytest.raises(InferenceServerException) as refusal:
        v2.infer("bolt", [files(image(), image()[:300], image())])
    assert refusal.value.status() == "422"
    assert "image 1 of 3" in refusal.value.message()
    assert "truncated" in refusal.value.message()


def test_a_result_that_is_no_number_fails_its_request(v2, image):
    with pytest.raises(InferenceServerException, match="NaN or infinity") as refusal:
        v2.infer("ghost", [files(image())])
    assert refusal.value.status() == "500"


@pytest.mark.parametrize(
    ("model", "version", "message"),
    [
        ("botle", "", "no checkpoint serves the category 'botle'; have: bolt"),
        ("bolt", "7", "version '7' does not serve the category 'bolt'; serving: 1"),
        ("../parts", "", "Not Found"),
        ("rust", "", "rotten/1"),
    ],
)
def test_errors_reach_the_client_with_their_message(v2, image, model, version, message):
    with pytest.raises(InferenceServerException) as refusal:
        v2.infer(model, [files(image())], version)
    assert message in refusal.value.message()
    assert refusal.value.status() in {"404", "503"}


def test_headers_mean_what_they_mean_for_detect(client, image, problem):
    content = base64.b64encode(image()).decode()
    given = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [content]}

    def post(model, **headers):
        return client.post(f"/v2/models/{model}/infer", json={"inputs": [given]}, headers=headers)

    assert post("nut").headers["x-decision"] == "NG"
    assert post("bolt").headers["x-decision"] == "OK"
    late = post("bolt", **{"X-Request-Timeout-Ms": "0.001"})
    assert problem(late, 504, "deadline-exceeded")["decision"] == "UNDECIDED"
    assert late.headers["x-decision"] == "UNDECIDED"
    problem(post("bolt", **{"X-Priority": "first"}), 422, "invalid-request")


def test_a_passed_deadline_is_an_error(v2, image):
    with pytest.raises(InferenceServerException) as refusal:
        v2.infer("bolt", [files(image())], timeout=1)
    assert refusal.value.status() == "504"


def test_an_image_of_too_many_pixels_is_refused(v2):
    with pytest.raises(InferenceServerException, match="40000 pixels") as refusal:
        v2.infer("bolt", [pixels(noise(1, 201, 200))])
    assert refusal.value.status() == "413"


def test_more_images_than_allowed_are_refused(v2, image):
    with pytest.raises(InferenceServerException, match="6 images") as refusal:
        v2.infer("bolt", [files(*[image(8, 8)] * 7)])
    assert refusal.value.status() == "413"


def request(shape, datatype="UINT8", **more):
    given = {"name": "image", "datatype": datatype, "shape": shape, "data": [1, 2, 3], **more}
    return {"inputs": [given]}


@pytest.mark.parametrize(
    "infer_request",
    [
        request([-1, 1, 1, 3]),
        request([2**62, 2**62, 1, 3]),
        request([2**64, 1, 1, 3]),
        request([1, 1, 1, 6]),
        request([3]),
        request([1, 3, 1, 1]),
        request([1, 1, 1, 3], "FP32"),
        request([1, 1, 1, 3], "INT8"),
        {**request([1, 1, 1, 3]), "parameters": {"timeout": -1}},
        {**request([1, 1, 1, 3]), "parameters": {"priority": "high"}},
        {**request([1, 1, 1, 3]), "parameters": {"part_id": "x" * 1000}},
        {**request([1, 1, 1, 3]), "outputs": [{"name": "pred_score"}]},
        {**request([1, 1, 1, 3]), "outputs": "score"},
        {"inputs": []},
        [],
    ],
)
def test_requests_that_fit_no_model_are_400(client, infer_request):
    response = client.post("/v2/models/bolt/infer", json=infer_request)
    assert response.status_code == 400, response.text
    body = response.json()
    assert body["error"] == body["detail"]
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_refused(client, problem, coding):
    bomb = bytes(50_000_000)
    content = gzip.compress(bomb, 9) if coding == "gzip" else zlib.compress(bomb, 9)
    assert len(content) < 100_000
    response = client.post(
        "/v2/models/bolt/infer", content=content, headers={"Content-Encoding": coding}
    )
    assert "500000 bytes" in problem(response, 413, "body-too-large")["detail"]


def test_bodies_that_cannot_be_read_are_refused(client, problem):
    def post(content, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.post("/v2/models/bolt/infer", content=content, headers=headers)

    problem(post(b"{}", Content_Encoding="br"), 415, "unsupported-encoding")
    problem(post(b"{}", Content_Encoding="gzip"), 400, "malformed-body")
    problem(post(b""), 400, "malformed-body")
    problem(post(bytes(600_000)), 413, "body-too-large")
    problem(post(b"{}", **{HEADER_LENGTH: "3"}), 400, "malformed-body")


@pytest.mark.parametrize("coding", [None, "gzip"])
def test_the_request_is_counted_by_its_routes_template(server, v2, image, coding):
    route = "/v2/models/{model}/infer"
    before = server.metric("mambaad_requests_total", route=route, code="200")
    v2.infer("bolt", [files(image())], request_compression_algorithm=coding)
    assert server.metric("mambaad_requests_total", route=route, code="200") == before + 1
