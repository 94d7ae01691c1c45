"""What a person does before there is a part to show."""

from shlex import quote
from urllib.parse import quote as quote_url

from service.api.service import Service
from service.console.visits import Visit

_CATEGORY = "CATEGORY"  # while the service has none


def first_command(visit: Visit, service: Service) -> str:
    """Return the command that posts a part as the line does, to this service's address."""
    routes = service.registry.routes
    category = quote_url(next((route.category for route in routes), _CATEGORY))
    address = f"{visit.request.url.scheme}://{visit.request.url.netloc}{visit.root}"
    posted = f"{address}{visit.request.app.url_path_for('detect')}?category={category}"
    key = " -H 'Authorization: Bearer KEY'" if visit.console.sessions.has_keys else ""
    return f"curl {quote(posted)}{key} --data-binary @part.png"
