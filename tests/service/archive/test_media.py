from datetime import date
from pathlib import Path

import pytest

from service.archive.media import MAP_SUFFIX, Media, MediaAltered, MediaGone
from service.archive.records import MediaState

DAY = date(2026, 11, 29)
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 100


@pytest.fixture
def media(tmp_path: Path) -> Media:
    return Media(tmp_path / "media", min_free_bytes=0)


def test_a_file_is_named_by_its_hash_and_read_again(media: Media) -> None:
    sha256, state = media.put(PNG, DAY)

    assert state is MediaState.KEPT
    assert media.path(sha256, DAY, "png") == (
        media.folder / "2026-11-29" / sha256[:2] / f"{sha256}.png"
    )
    assert media.find(sha256, DAY).read_bytes() == media.read(sha256, DAY) == PNG
    with pytest.raises(MediaGone, match="not there"):
        media.read(sha256, DAY, MAP_SUFFIX)


def test_an_altered_file_is_never_returned(media: Media) -> None:
    sha256, _ = media.put(PNG, DAY)
    media.find(sha256, DAY).write_bytes(PNG.replace(b"pixels", b"slexip"))

    with pytest.raises(MediaAltered, match="altered"):
        media.read(sha256, DAY)
    media.put(PNG, DAY)
    assert media.read(sha256, DAY) == PNG
