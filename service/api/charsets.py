"""Refuses requests that declare another charset than UTF-8."""

from python_multipart.multipart import parse_options_header

from service.errors import UnsupportedCharset

_UTF8 = frozenset({"", "utf-8", "utf8", "utf_8", "us-ascii", "ascii"})


def check_charset(content_type: str, of: str) -> None:
    """Raise `UnsupportedCharset` for a Content-Type with another charset than UTF-8 or ASCII."""
    if "charset" in content_type.lower():
        options = parse_options_header(content_type)[1]
        named = {name.strip().lower(): value for name, value in options.items()}
        check_charset_name(named.get(b"charset", b"").decode("latin-1"), of)


def check_charset_name(charset: str, of: str) -> None:
    """Raise `UnsupportedCharset` for another charset than UTF-8 or ASCII."""
    if charset.strip().lower() not in _UTF8:
        raise UnsupportedCharset(f"the {of} declares the charset {charset[:50]!r}; expected UTF-8")
