"""How the archive's values are stored: ids, hashes, times and texts, alike in both databases.

Column("received_at", Moment, nullable=False)
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Dialect, LargeBinary, Text, Uuid
from sqlalchemy.types import TypeDecorator, TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Identifier(TypeDecorator[UUID]):
    """A UUID: 16 bytes in SQLite, which has no such type, and sorted alike in both."""

    impl = Uuid
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column's type in a database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(LargeBinary(16))
        return dialect.type_descriptor(Uuid())

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:  # noqa: ANN401
        """Convert an id for the database."""
        return value.bytes if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:  # noqa: ANN401
        """Convert an id from the database."""
        return UUID(bytes=value) if isinstance(value, bytes) else value


class Sha256(TypeDecorator[str]):
    """A SHA-256 in lower-case hex; 32 bytes in the database."""

    impl = LargeBinary(32)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """Convert a hash for the database."""
        return None if value is None else bytes.fromhex(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        """Convert a hash from the database."""
        return None if value is None else bytes(value).hex()


class Moment(TypeDecorator[datetime]):
    """An aware datetime; microseconds since 1970 in the database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Convert a time for the database."""
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Convert a time from the database."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class PlainText(TypeDecorator[str]):
    """A text; NUL characters and lone surrogates become U+FFFD, since PostgreSQL refuses them.

    The same happens to a text that a column is compared with.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Convert a text for the database."""
        return None if value is None else storable(value)


def storable(text: str) -> str:
    r"""Return a text as a database keeps it.

    >>> storable("part\0" + chr(0xD800)) == "part\ufffd\ufffd"
    True
    """
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "\ufffd")
