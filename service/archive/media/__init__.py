"""Images and raw maps as files that are named by their SHA-256, by day.

    media = Media(state_dir / "archive" / "media", min_free_bytes=2 * 10**9)
    sha256, state = media.put(content, inspection.received_at.date())      # durable if KEPT
    media.read(sha256, inspection.received_at.date())                      # that image, or an error

The day is the UTC date of the inspection's `received_at`, so that a view's row tells where its
files are. A raw map is put and read with the suffix `MAP_SUFFIX`.
"""

from service.archive.media.files import Media, MediaAltered, MediaError, MediaGone
from service.archive.media.folder import MAP_SUFFIX

__all__ = ["MAP_SUFFIX", "Media", "MediaAltered", "MediaError", "MediaGone"]
