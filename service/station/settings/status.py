"""Settings of the status page."""

from pydantic import Field

from service.station.settings.base import LOOPBACK, Network, StationRoom


class StatusSettings(StationRoom):
    """The station's page, its `/status.json` and `/metrics`; they change nothing."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int | None = Field(
        8030, ge=0, le=65_535, description="port to listen on; 0: no status page"
    )
    allow: tuple[Network, ...] = Field(
        LOOPBACK, description="networks whose requests are answered; all others get 403"
    )
    names: tuple[str, ...] = Field(
        (),
        description="host names by which browsers may ask, beside this host's name and addresses",
    )
    max_browsers: int = Field(20, ge=1, le=200, description="browsers with live updates at a time")

    @property
    def is_on(self) -> bool:
        """Whether there is a page."""
        return bool(self.port)
