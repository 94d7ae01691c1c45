"""When a certificate is valid: a walk through its DER, because `ssl` does not tell it of a file.

A certificate is (RFC 5280, section 4.1): a sequence whose first member is a sequence of an optional
version, serial number, algorithm, issuer, and the validity, which is a sequence of two times.
"""

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

_VERSION, _UTC_TIME, _TIME = 0xA0, 0x17, 0x18
_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Validity(NamedTuple):
    """The first and the last moment of a certificate."""

    begins: datetime
    ends: datetime


def validity_of(pem: str) -> Validity:
    """Return the validity of the first certificate in the text. Raises `ValueError`."""
    first = _FIRST.search(pem)
    if first is None:
        raise ValueError("there is no PEM certificate")
    try:
        _, certificate = next(_members(ssl.PEM_cert_to_DER_cert(first[0])))
        _, signed = next(_members(certificate))
        fields = [content for tag, content in _members(signed) if tag != _VERSION]
        begins, ends = _members(fields[3])
        return Validity(_time(*begins), _time(*ends))
    except (IndexError, StopIteration, ValueError) as error:
        raise ValueError(f"the certificate has no validity: {error}") from error


def _members(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the content of each member. Raises `IndexError` if one is cut off."""
    while content:
        tag, count, start = content[0], content[1], 2
        if count >= 0x80:
            start += count - 0x80
            count = int.from_bytes(content[2:start], "big")
        if start + count > len(content):
            raise IndexError(f"{start + count} bytes are announced, there are {len(content)}")
        yield tag, content[start : start + count]
        content = content[start + count :]


def _time(tag: int, content: bytes) -> datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: 1950 to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _TIME:
        raise ValueError(f"tag {tag:#x} is no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
