"""Complete HTTP requests whose framing has too much of something."""

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.hostile_bodies import CATEGORY


@dataclass(frozen=True)
class HostileRequest:
    """One request as bytes; `name` describes the fault."""

    name: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name} ({len(self.content)} bytes)"


def with_length(
    name: str, path: str, content: bytes, headers: Mapping[str, str], method: str = "POST"
) -> HostileRequest:
    return HostileRequest(name, head(path, {**headers, **length_of(content)}, method) + content)


def head(path: str, headers: Mapping[str, str], method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def length_of(content: bytes) -> dict[str, str]:
    return {"Content-Length": str(len(content))}


def chunks(*pieces: bytes, extension: bytes = b"") -> bytes:
    return b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)


CHUNKED = {"Transfer-Encoding": "chunked"}
DETECT = f"/detect?category={CATEGORY}"


def long_trailer(size: int, line: bytes = b"X-T: " + b"t" * 80 + b"\r\n") -> HostileRequest:
    trailer = line * (size // len(line))
    content = head(DETECT, CHUNKED) + chunks(b"x") + b"0\r\n" + trailer + b"\r\n"
    return HostileRequest(f"a trailer of {size} bytes", content)


def one_long_trailer(size: int) -> HostileRequest:
    """The trailer is a single line."""
    return long_trailer(size, b"X-T: " + b"t" * max(0, size - 7) + b"\r\n")


def long_extensions(size: int, count: int) -> HostileRequest:
    """One-byte chunks, each with a long extension."""
    extension = b";e=" + b"e" * (size // count)
    content = chunks(*[b"x"] * count, extension=extension)
    return HostileRequest(
        f"{count} chunk extensions, {size} bytes", head(DETECT, CHUNKED) + content + b"0\r\n\r\n"
    )


def small_chunks(count: int, size: int) -> HostileRequest:
    content = chunks(b"x" * size) * count
    return HostileRequest(
        f"{count} chunks of {size}", head(DETECT, CHUNKED) + content + b"0\r\n\r\n"
    )


def many_headers(count: int, size: int) -> HostileRequest:
    headers = {f"X-{number}": "h" * size for number in range(count)}
    return HostileRequest(f"{count} headers of {size}", head(DETECT, headers | length_of(b"")))


def long_target(size: int) -> HostileRequest:
    """A path with a query of many fields."""
    query = "&".join(f"a{number}=b" for number in range(size // 8))
    return with_length(f"a query of {size} bytes", f"{DETECT}&{query}", b"x", {})


def pipelined(count: int, path: str) -> HostileRequest:
    return HostileRequest(f"{count} requests for {path} at once", head(path, {}, "GET") * count)


def nested_gzip(levels: int, size: int) -> HostileRequest:
    """The header declares only one level."""
    content = bytes(size)
    for _ in range(levels):
        content = gzip.compress(content, 9, mtime=0)
    return with_length(
        f"{size} bytes, gzipped {levels} times", DETECT, content, {"Content-Encoding": "gzip"}
    )


def framings(size: int) -> st.SearchStrategy[HostileRequest]:
    sizes = st.integers(1, size)
    return st.one_of(
        st.builds(long_trailer, sizes),
        st.builds(one_long_trailer, sizes),
        st.builds(long_extensions, sizes, st.integers(1, 1000)),
        st.builds(small_chunks, st.integers(0, size // 10), st.integers(1, 3)),
        st.builds(many_headers, st.integers(0, 2_000), st.sampled_from([0, 1, 100, 10_000])),
        st.builds(long_target, sizes),
        st.builds(
            pipelined,
            st.integers(1, 300),
            st.sampled_from(["/livez", "/readyz", "/nowhere", "/v2"]),
        ),
        st.builds(nested_gzip, st.integers(1, 3), st.sampled_from([0, 10**5, 10**7, 10**8])),
    )


FIXED: dict[str, Callable[[], HostileRequest]] = {
    "a trailer of many lines": lambda: long_trailer(3_000_000),
    "a trailer of one line": lambda: one_long_trailer(3_000_000),
    "100 chunk extensions": lambda: long_extensions(3_000_000, 100),
    "one chunk extension": lambda: long_extensions(3_000_000, 1),
    "300,000 chunks": lambda: small_chunks(300_000, 1),
    "2,000 headers": lambda: many_headers(2_000, 1),
    "a long query": lambda: long_target(30_000),
    "300 requests at once": lambda: pipelined(300, "/livez"),
    "a gzip bomb": lambda: nested_gzip(1, 10**8),
}
"""Framings that once exceeded every limit, and similar ones, by name."""
