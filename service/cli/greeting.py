"""Tells a person at the terminal that the service is ready, and how to try it."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from model.images.files import images_in_folder
from service.settings import HttpSettings, Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.assembly.archiving import OpenArchive

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}


class Url:
    """The service's URL for clients on this machine."""

    def __init__(self, settings: HttpSettings) -> None:
        host = settings.host
        self.host = _ANY_ADDRESS.get(host, f"[{host}]" if ":" in host else host)
        self.scheme = "https" if settings.has_tls else "http"
        self.port = 0

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def say_ready(app: "FastAPI", url: str, settings: Settings) -> None:
    """Print the addresses, the archive's state, warnings, and a command to paste."""
    registry = app.state.service.registry
    categories = [route.category for route in registry.routes]
    lines = ["", f"Open {url}/ in a browser"] if settings.console.enabled else [""]
    lines.append(f"Ready on {url} for {', '.join(categories)}. Try the API: {url}/docs")
    lines.append(_archive_line(app.state.archive))
    lines += [f"Warning: {line}" for line in registry.undecided()]
    example = find_sample(settings.samples_dir, categories)
    if example:
        command = curl_command(url, *example, authority=settings.http.tls_certificate)
        lines += ["Inspect a sample:", "", f"  {command}"]
    typer.echo("\n".join([*lines, ""]))


def _archive_line(archive: "OpenArchive | None") -> str:
    if archive is None:
        return "Inspections are not kept: give a folder with --state"
    failure = archive.journal.failure
    warning = f"; they cannot be written now: {failure}" if failure else ""
    return f"Inspections are kept in {archive.folder}{warning}"


def find_sample(samples: Path, categories: Iterable[str]) -> tuple[str, Path] | None:
    """Return a category and one of its sample images, the first by name."""
    for category in categories:
        folder = samples / category
        if folder.is_dir():
            image = next(images_in_folder(folder), None)
            if image is not None:
                return category, image
    return None


def curl_command(url: str, category: str, image: Path, authority: Path | None = None) -> str:
    """Return a shell command that posts the image, and trusts the certificate in a file."""
    form = [f"category={category}", f"file=@{image}"]
    trust = ["--cacert", str(authority)] if authority else []
    return shlex.join(["curl", *trust, "-F", form[0], "-F", form[1], f"{url}/detect"])
