"""Which clients a list of networks allows."""

from ipaddress import ip_network

import pytest

from service.station.settings.base import allows

NETWORKS = [ip_network("10.0.0.0/24"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("10.0.0.5", True),
        ("::ffff:10.0.0.5", True),
        ("fd00::5%eth0", True),
        ("10.0.1.5", False),
        ("::ffff:10.0.1.5", False),
        ("fe80::1%eth0", False),
    ],
)
def test_an_ipv4_client_of_an_ipv6_socket_is_its_ipv4_address(host, allowed):
    assert allows(NETWORKS, host) is allowed
