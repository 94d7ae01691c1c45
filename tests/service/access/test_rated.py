"""Rates count the images of a request, through every door."""

import base64
import json

import pytest

from service.settings import AccessSettings, Settings, VersionSettings
from tests.service.line import Line


@pytest.fixture
def rated(tmp_path, metrics):
    return Line(
        Settings(
            versions=VersionSettings(weights_dir=tmp_path),
            access=AccessSettings(rate_limit_per_s=5),
        ),
        metrics,
    )


def bodies(content):
    """So many images that the rate limit lasts for seconds."""
    text = base64.b64encode(content).decode()
    images = {"category": "bolt", "images": [{"content": text}] * 20}
    tensor = {"name": "image", "datatype": "BYTES", "shape": [20], "data": [text] * 20}
    return {
        "/detect": images,
        "/detect/batch": images,
        "/v2/models/bolt/infer": {"inputs": [tensor]},
    }


@pytest.mark.parametrize("path", ["/detect", "/detect/batch", "/v2/models/bolt/infer"])
def test_images_count_and_not_requests(rated, image, problem, path):
    content = json.dumps(bodies(image(8, 8))[path])
    headers = {"content-type": "application/json"}

    async def scenario(client):
        first = await client.post(path, content=content, headers=headers)
        return first, await client.post(path, content=content, headers=headers)

    first, second = rated.run(scenario)
    assert first.status_code != 429, first.text
    assert "5 images a second" in problem(second, 429, "rate-limited")["detail"]
    assert second.headers["x-decision"] == "UNDECIDED"
