"""Texts come in UTF-8, and a request that says otherwise is refused."""

from python_multipart.multipart import parse_options_header

from service.errors import UnsupportedCharset

_UTF8 = frozenset({"", "utf-8", "utf8", "utf_8", "us-ascii", "ascii"})


def check_charset(content_type: str, of: str) -> None:
    """Raise `UnsupportedCharset` for a Content-Type whose charset is not UTF-8 or a part of it."""
    if "charset" in content_type.lower():
        options = parse_options_header(content_type)[1]
        named = {name.strip().lower(): value for name, value in options.items()}
        check_charset_name(named.get(b"charset", b"").decode("latin-1"), of)


def check_charset_name(charset: str, of: str) -> None:
    """Raise `UnsupportedCharset` for the name of any other charset."""
    if charset.strip().lower() not in _UTF8:
        raise UnsupportedCharset(
            f"the {of} says that its charset is {charset[:50]!r}; expected UTF-8"
        )
