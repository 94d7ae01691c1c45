"""One service and one station for all tests here: starting them takes most of the time."""

import asyncio

import pytest

from tests.service.live import serving
from tests.service.station.plc.opcua.site import Site


@pytest.fixture(scope="session")
def site(tmp_path_factory, weights, image):
    state = tmp_path_factory.mktemp("state")
    with serving(weights, versions__state_dir=state) as live:
        site = Site(tmp_path_factory.mktemp("site"), live.url, image, max_clients=8)
        with site.running():
            yield site


@pytest.fixture
def run(site):
    """Run a scenario with a connected client."""

    def work(scenario, **options):
        async def connected():
            async with asyncio.timeout(60), site.client(**options) as client:
                await scenario(client)

        asyncio.run(connected())

    return work
