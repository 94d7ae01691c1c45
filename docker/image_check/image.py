"""A built image: its configuration, its size, and the private words it must not contain."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.image_check.programs import CheckFailed, run

LARGEST_PARTS = 10
READ_WHOLE_BYTES = 1_000_000
SITE_PACKAGES = re.compile(r"opt/venv/lib/python3[.]\d+/site-packages/([^/]+)/")


@dataclass(frozen=True)
class Image:
    """The configuration of an image, as an engine reads it."""

    name: str
    size_bytes: int
    command: tuple[str, ...]
    environment: tuple[str, ...]
    user: str
    folder: str
    health_command: tuple[str, ...]
    text: str  # the complete configuration with its history

    @classmethod
    def of(cls, name: str) -> "Image":
        """Ask buildah about an image."""
        text = run("buildah", "inspect", "--type=image", name)
        about: dict[str, Any] = json.loads(text)
        config = about["Docker"]["config"]
        layers = json.loads(about["Manifest"])["layers"]
        if config["User"].partition(":")[0] in {"", "0", "root"}:
            raise CheckFailed(f"{name} runs as root")
        kind, *health = (config.get("Healthcheck") or {}).get("Test") or ["NONE"]
        return cls(
            name=name,
            size_bytes=sum(layer["size"] for layer in layers),
            command=(*(config["Entrypoint"] or ()), *(config["Cmd"] or ())),
            environment=tuple(config["Env"] or ()),
            user=config["User"],
            folder=config["WorkingDir"] or "/",
            health_command=tuple(health) if kind == "CMD" else (),
            text=text,
        )


@contextmanager
def mounted(image: str) -> Iterator[Path]:
    """Mount the image's file system during the block."""
    container = run("buildah", "from", "--pull-never", image).strip()
    try:
        yield Path(run("buildah", "mount", container).strip())
    finally:
        run("buildah", "rm", container)


def largest_parts(root: Path) -> list[tuple[int, str]]:
    """Return the bytes and names of the heaviest packages and other folders."""
    sizes: Counter[str] = Counter()
    for path in files_in(root):
        name = str(path.relative_to(root))
        package = SITE_PACKAGES.match(name)
        part = package[1] if package else "/".join(name.split("/")[:2])
        sizes[part] += path.stat().st_size
    return [(size, part) for part, size in sizes.most_common(LARGEST_PARTS)]


def files_in(root: Path) -> Iterator[Path]:
    """Yield all regular files."""
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def refuse_private_words(image: Image, root: Path, words: Iterable[str]) -> None:
    """Raise `CheckFailed` if the image reveals where this machine gets its packages."""
    private = [word.encode() for word in words]
    telling = [image.name] if any(word.decode() in image.text for word in private) else []
    for path in files_in(root):
        if path.stat().st_size <= READ_WHOLE_BYTES:
            content = path.read_bytes()
            if any(word in content for word in private):
                telling.append(str(path.relative_to(root)))
    if telling:
        raise CheckFailed(f"the image tells where its packages came from: {telling[:5]}")
