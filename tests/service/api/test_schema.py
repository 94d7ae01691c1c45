"""The running service against its OpenAPI document: generated requests, checked answers.

Schemathesis makes requests that fit the document and others that do not, always the same ones. Each
answer must have a status, media type and schema that the document declares for it.
"""

import random
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.app import create_app
from service.settings import Settings, VersionSettings

EXAMPLES = 20
REFUSALS = {503, 504}
"""Server errors that tell a client what to do; 500 is our bug."""

KNOWN = {
    "category": "bolt", "model": "bolt", "name": "parts", "version": "1", "project": "bolt",
    "inspection_id": "0192f0c1-2c3a-7def-8123-456789abcdef",
}  # fmt: skip
"""Existing names; version 1 of parts serves nothing, so that it may come and go."""

CONFORMANCE = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]


def operations():
    app = create_app(Settings(versions=VersionSettings(weights_dir=Path("nowhere"))))
    results = schemathesis.openapi.from_dict(app.openapi()).get_all_operations()
    return {operation.label: operation for operation in (result.ok() for result in results)}


OPERATIONS = operations()


@pytest.fixture(scope="module")
def known_inspection(live_service, image):
    """An archived part, always NG, so that its files are kept."""
    headers = {"X-Inspection-ID": KNOWN["inspection_id"]}
    with live_service.client() as client:
        posted = client.post("/detect?category=nut", content=image(), headers=headers)
    assert posted.status_code == 200, posted.text


@pytest.mark.parametrize("label", OPERATIONS)
def test_answers_are_what_the_document_says(live_service, known_inspection, label):
    operation, draws = OPERATIONS[label], random.Random(label)

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.sampled_from(GenerationMode).flatmap(operation.as_strategy))
    def ask(case):
        if case.path_parameters and draws.random() < 0.5:  # made-up names alone reach nothing
            case.path_parameters.update(
                (name, KNOWN[name]) for name in case.path_parameters if name in KNOWN
            )
        response = case.call(base_url=live_service.url, timeout=60)
        assert response.status_code < 500 or response.status_code in REFUSALS, response.text
        decision = response.headers.get("x-decision", [None])[0]
        assert decision != "OK" or response.status_code == 200
        case.validate_response(response, checks=CONFORMANCE)

    ask()


def test_the_service_is_sound_after_all_that(live):
    """The fixture inspects parts; this test checks the log for tracebacks."""
    assert live.tracebacks() == []
