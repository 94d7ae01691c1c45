"""Mounts the folders and files that pip's configuration names into the build.

The build's pip gets the same configuration (folders with packages, indexes, certificates), but with
read-only mounts instead of local paths. Nothing is copied, so the image contains no path and no
index of this machine.
"""

import ast
import configparser
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from docker.image_check.programs import run

INSIDE = "/run/pip"
CONFIGURATION = "/etc/pip.conf"
INDEXES = {"index-url", "extra-index-url"}
USED = INDEXES | {
    "find-links",
    "cert",
    "client-cert",
    "constraint",
    "no-index",
    "trusted-host",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
    "prefer-binary",
}
"""The options of pip that locate packages; the others are the user's preferences."""

PUBLIC_HOSTS = {"pypi.org", "files.pythonhosted.org"}
CERTIFICATES = "/etc/ssl/certs"  # the same in every Debian, so it reveals nothing


@dataclass(frozen=True)
class PipMounts:
    """The build's configuration of pip, and the mounted places."""

    configuration: str
    places: dict[str, Path]  # path inside -> path here
    private_words: frozenset[str]  # local paths and hosts that no image may contain

    def options(self, file: Path) -> list[str]:
        """Write the configuration; return the options of `buildah build` that mount everything."""
        file.write_text(self.configuration, "utf-8")
        mounts = {CONFIGURATION: file, **self.places}
        return [f"--volume={here}:{inside}:ro" for inside, here in mounts.items()]


def find_pip_mounts() -> PipMounts:
    """Ask this Python's pip for its configuration."""
    listing = run(sys.executable, "-m", "pip", "config", "list")
    options = parse_listing(listing)
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if bundle:
        options.setdefault("global", {}).setdefault("cert", bundle)
    return translate(options)


def parse_listing(listing: str) -> dict[str, dict[str, str]]:
    """Read `pip config list` into options by section; variables such as PIP_FIND_LINKS win."""
    options: dict[str, dict[str, str]] = {}
    lines = sorted(listing.splitlines(), key=lambda line: line.startswith(":env:"))
    for line in lines:
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if name in USED:
            section = "global" if section == ":env:" else section
            options.setdefault(section, {})[name] = ast.literal_eval(value)
    return options


def translate(options: dict[str, dict[str, str]]) -> PipMounts:
    """Replace local paths by mounts."""
    parser = configparser.RawConfigParser()
    places: dict[str, Path] = {}
    for section, values in options.items():
        parser.add_section(section)
        for name, value in values.items():
            words = [word_inside(word, name, places) for word in value.split()]
            parser.set(section, name, "\n".join(words))
    named = [value for values in options.values() for value in values.values()]
    private = {private_part(word) for value in named for word in value.split()}
    return PipMounts(as_text(parser), places, frozenset(word for word in private if word))


def word_inside(word: str, option: str, places: dict[str, Path]) -> str:
    """Return one word of a value as the build sees it, and record the mount that it needs."""
    path = local_path(word)
    if path is None:
        return word
    # The files of an index lie beside its folder `simple`; its pages link to ../../files.
    has_siblings = option in INDEXES and path.parent != Path("/")
    here = path.parent if has_siblings else path
    inside = next((inside for inside, mounted in places.items() if mounted == here), None)
    if inside is None:
        inside = f"{INSIDE}/{len(places)}"
        places[inside] = here
    place = f"{inside}/{path.name}" if has_siblings else inside
    return f"file://{place}" if word.startswith("file:") else place


def local_path(word: str) -> Path | None:
    """Return the existing path that a word of a value names, if any."""
    path = Path(unquote(urlsplit(word).path) if word.startswith("file:") else word).expanduser()
    return path if path.is_absolute() and path.exists() else None


def private_part(word: str) -> str | None:
    """Return the path or host of this machine in a word, if any."""
    path = local_path(word)
    if path is None:
        host = urlsplit(word).hostname
        return None if host in PUBLIC_HOSTS else host
    return None if path.is_relative_to(CERTIFICATES) else str(path)


def as_text(parser: configparser.RawConfigParser) -> str:
    """Return the text of a configuration file."""
    lines = []
    for section in parser.sections():
        lines.append(f"[{section}]")
        for name, value in parser.items(section):
            lines.append(f"{name} = " + value.replace("\n", "\n    "))
    return "\n".join(lines) + "\n"
