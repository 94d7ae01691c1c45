"""The OpenAPI document is complete and describes the service correctly."""

import re

import pytest

from service.api import schemas as answers
from service.api.admin import schemas as admin_schemas
from service.api.detect import schemas
from service.api.detect.schemas import BatchAnswer, DetectAnswer, PartAnswer
from service.api.inspections import queries, summaries
from service.api.inspections import schemas as inspection_schemas
from service.api.posting.fields import Asked, AskedInText
from service.api.posting.uploads import BatchBody, DetectBody
from service.app import create_app
from service.errors import ClientGone
from service.http.decision_headers import deciding
from service.inspection.images.pictures import HeatmapKind
from service.problem_types import PROBLEM_TYPES
from service.settings import Settings, VersionSettings


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    return create_app(
        Settings(versions=VersionSettings(weights_dir=tmp_path_factory.mktemp("empty")))
    ).openapi()


def references(node):
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "$ref")
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from references(child)


def operations(document):
    return [operation for methods in document["paths"].values() for operation in methods.values()]


def test_every_reference_leads_somewhere(document):
    all_references = list(references(document))
    assert all_references
    for reference in all_references:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert isinstance(node, dict)


def test_the_document_has_the_shape_of_the_standard(document):
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    assert document["info"]["title"]
    assert document["info"]["version"]
    identifiers = [operation["operationId"] for operation in operations(document)]
    assert len(set(identifiers)) == len(identifiers)
    for operation in operations(document):
        assert operation["summary"]
        assert operation["responses"]
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", status)
            assert response["description"]
            for content in response.get("content", {}).values():
                assert set(content) <= {"schema", "example", "examples"}


def test_the_paths_are_the_services(document):
    for_parts = {"/detect", "/detect/batch", "/categories", "/livez", "/readyz", "/metrics"}
    for_models = {
        "/models",
        "/models/rescan",
        *(f"/models/{{name}}/{{version}}/{verb}" for verb in ("load", "warm", "unload")),
        *(f"/categories/{{category}}/{noun}" for noun in ("route", "threshold", "warm")),
    }
    others = ("/v2", "/2020-11-20/")
    one = "/inspections/{inspection_id}"
    for_inspections = {
        "/inspections",
        "/inspections/summary",
        "/inspections/purge",
        one,
        *(f"{one}/{noun}" for noun in ("image", "heatmap", "verdict", "hold")),
    }
    service_paths = {path for path in document["paths"] if not path.startswith(others)}
    sink = "/deliveries/{sink}"
    for_deliveries = {
        "/deliveries",
        *(f"{sink}/{noun}" for noun in ("dead-letters", "replay", "retry")),
    }
    assert service_paths == for_parts | for_models | for_inspections | for_deliveries


def test_the_paths_of_other_protocols_are_theirs(document):
    model = "/v2/models/{model}"
    assert {path for path in document["paths"] if path.startswith("/v2")} == {
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/repository/index",
        *(f"{model}{suffix}" for suffix in ("", "/ready", "/infer")),
        *(f"{model}/versions/{{version}}{suffix}" for suffix in ("", "/ready", "/infer")),
    }
    assert "/2020-11-20/projects/{project}/models/{version}/detect" in document["paths"]


def test_detect_takes_forms_and_images(document):
    body = document["paths"]["/detect"]["post"]["requestBody"]
    assert body["required"]
    form = body["content"].pop("multipart/form-data")["schema"]
    assert set(form["properties"]) == {"file", *AskedInText.model_fields}
    kinds = [kind.value for kind in HeatmapKind]
    assert form["properties"]["heatmap"]["anyOf"][0]["enum"] == kinds
    json_body = body["content"].pop("application/json")
    assert set(json_body["schema"]["properties"]) == {"images", *Asked.model_fields}
    DetectBody.model_validate(json_body["example"])
    assert {kind.partition("/")[0] for kind in body["content"]} == {"image"}


def test_every_problem_is_documented_with_an_example(document):
    responses = document["paths"]["/detect"]["post"]["responses"]
    documented = {
        (int(status), slug): example["value"]
        for status, response in responses.items()
        for slug, example in response.get("content", {})
        .get("application/problem+json", {})
        .get("examples", {})
        .items()
    }
    kinds = {kind for error, kind in PROBLEM_TYPES.items() if error is not ClientGone}
    assert set(documented) == {(kind.status, kind.slug) for kind in kinds}
    for (status, slug), value in documented.items():
        assert value["status"] == status
        assert value["type"].endswith(slug)
        assert value["detail"] == value["error"]
    assert "Retry-After" in responses["503"]["headers"]


def test_the_example_of_an_answer_is_one(document):
    content = document["paths"]["/detect"]["post"]["responses"]["200"]["content"]
    example = content["application/json"]["example"]
    answer = DetectAnswer.model_validate(example, strict=False)
    assert answer.model_dump(mode="json", exclude_none=True) == example


def properties(schema, where):
    for name, value in schema.get("properties", {}).items():
        yield f"{where}.{name}", value
        yield from properties(value.get("items", {}), f"{where}.{name}[]")


def test_every_field_of_an_inspection_is_described(document):
    components = document["components"]["schemas"]
    described = {
        name: components[name]
        for name in components
        if hasattr(schemas, name) or hasattr(answers, name)
    }
    described["Problem"] = components["Problem"]
    for path in ("/detect", "/detect/batch"):
        contents = document["paths"][path]["post"]["requestBody"]["content"]
        described |= {f"{path} {kind}": content["schema"] for kind, content in contents.items()}
    fields = [pair for name, schema in described.items() for pair in properties(schema, name)]
    assert len(fields) > 50
    assert not [where for where, field in fields if not field.get("description")]


def test_a_batch_is_described_by_an_example_of_its_own(document):
    operation = document["paths"]["/detect/batch"]["post"]
    content = operation["responses"]["200"]["content"]["application/json"]
    example = content["example"]
    results = [PartAnswer.model_validate(without_error(result)) for result in example["results"]]
    with deciding("NG"):
        answer = BatchAnswer.of(results)
    dumped = answer.model_dump(mode="json", exclude_defaults=True)
    assert dumped["decision"] == example["decision"]
    assert answer.counts.model_dump() == example["counts"]
    BatchBody.model_validate(operation["requestBody"]["content"]["application/json"]["example"])
    assert set(operation["responses"]) == {"200", "400", "413", "422", "504"}


def without_error(result):
    """Drop the computed member, which the models do not accept."""
    problem = {key: value for key, value in result.get("error", {}).items() if key != "error"}
    return {**result, "error": problem or None}


@pytest.mark.parametrize("module", [admin_schemas, inspection_schemas, queries, summaries])
def test_every_field_of_what_operators_send_and_get_is_described(module):
    bodies = [
        kind
        for kind in vars(module).values()
        if getattr(kind, "__module__", "") == module.__name__ and hasattr(kind, "model_fields")
    ]
    bare = [
        f"{kind.__name__}.{name}"
        for kind in bodies
        for name, field in kind.model_fields.items()
        if not field.description
    ]
    assert bodies
    assert not bare
