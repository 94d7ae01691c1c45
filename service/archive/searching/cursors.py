"""Cursors: where the next page of a search begins.

    cursors = Cursors(read_key(state_dir / "archive"))
    text = cursors.write(position, wanted.text)
    position = cursors.read(text, wanted.text)

Only a service that has the key can make a cursor, and each is bound to its query.
"""

import base64
import hmac
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from struct import Struct
from uuid import UUID

from service.access import signing
from service.archive.searching.search import Position
from service.errors import InvalidCursor

_KEY_FILE = "cursor.key"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CONTENT = Struct(">q16s8s")
"""Microseconds, inspection id, beginning of the query's SHA-256; the signature follows."""

_DIGEST_BYTES = 8
_SIGNATURE_BYTES = 16
_ADVICE = "leave `cursor` out to begin at the newest inspection"


class Cursors:
    """Writes and reads cursors; each is bound to the query of its search."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def write(self, position: Position, query: str) -> str:
        """Return the cursor of a position in the results of a query."""
        micros = (position.received_at - _EPOCH) // _MICROSECOND
        content = _CONTENT.pack(micros, position.inspection_id.bytes, _digest(query))
        return base64.urlsafe_b64encode(content + self._sign(content)).decode()

    def read(self, text: str, query: str) -> Position:
        """Return the position. Raises `InvalidCursor`."""
        content = _decoded(text)
        signed, signature = content[:-_SIGNATURE_BYTES], content[-_SIGNATURE_BYTES:]
        if len(signed) != _CONTENT.size or not hmac.compare_digest(self._sign(signed), signature):
            raise InvalidCursor(f"this service did not make the cursor {text[:20]!r}: {_ADVICE}")
        micros, identifier, digest = _CONTENT.unpack(signed)
        if digest != _digest(query):
            raise InvalidCursor(
                "the cursor belongs to another search: send it with the filters of the search "
                f"that returned it, or {_ADVICE}"
            )
        return Position(_EPOCH + micros * _MICROSECOND, UUID(bytes=identifier))

    def _sign(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, "sha256")[:_SIGNATURE_BYTES]


def read_key(folder: Path) -> bytes:
    """Return the folder's key, made and stored at the first call, so that cursors stay valid."""
    return signing.read_key(folder / _KEY_FILE, "cursors")


def _digest(query: str) -> bytes:
    return sha256(query.encode()).digest()[:_DIGEST_BYTES]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True)
    except ValueError:
        return b""
