"""The addresses of one service, whose nodes all inspect alike."""

from collections.abc import Sequence

import httpx


class Addresses:
    """Addresses in the order of preference; a call begins at the one that answered last.

    Threads may share it. Raises `ValueError` for an address that is no URL of a service.
    """

    def __init__(self, urls: str | Sequence[str]) -> None:
        self._urls = [_service_url(url) for url in ([urls] if isinstance(urls, str) else urls)]
        if not self._urls:
            raise ValueError("expected at least one URL like http://127.0.0.1:8000, got none")
        self._place = 0

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def first(self) -> httpx.URL:
        """The address where the next call begins."""
        return self._urls[self._place]

    @property
    def in_turn(self) -> Sequence[httpx.URL]:
        """Each address once, in the order in which a call tries them."""
        place = self._place
        return [*self._urls[place:], *self._urls[:place]]

    def prefer(self, url: httpx.URL) -> None:
        """Let calls begin at this address."""
        self._place = self._urls.index(url)


def _service_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:  # not a ValueError
        raise ValueError(
            f"expected a URL like http://127.0.0.1:8000, got {url!r}: {error}"
        ) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"expected a URL like http://127.0.0.1:8000, got {url!r}")
    return parsed
