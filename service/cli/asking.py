"""Asks a running service.

with service_client("http://line-3:8000", None) as client:
    ask(client, "GET", "/inspections").json()
"""

from typing import Any

import httpx

from service.client.trust import trust
from service.settings import ClientSettings

_TIMEOUT_S = 60.0


class Refused(Exception):
    """The service refused, or cannot be reached; the message says why."""


def service_client(url: str | None, key: str | None) -> httpx.Client:
    """Return a client of a service, by default that of MAMBAAD_URL. Raises `Refused`."""
    settings = ClientSettings()
    if key is None and settings.api_key is not None:
        key = settings.api_key.get_secret_value()
    url = url or settings.url
    if not url.startswith(("http://", "https://")):
        raise Refused(f"expected a URL such as http://line-3:8000, got {url!r}")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        verify = trust(settings.ca_file)
    except ValueError as error:
        raise Refused(str(error)) from error
    return httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, verify=verify)


def ask(client: httpx.Client, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401
    """Return the answer of a request. Raises `Refused`."""
    try:
        answer = client.request(method, path, **request)
    except httpx.HTTPError as error:
        raise Refused(f"{client.base_url} cannot be reached: {error}") from error
    if answer.is_success:
        return answer
    try:
        problem = answer.json()
        reason = problem["detail"]
    except (ValueError, KeyError, TypeError):
        reason = f"an answer with status {answer.status_code} that is not this service's"
    raise Refused(f"{client.base_url} refused: {reason}")
