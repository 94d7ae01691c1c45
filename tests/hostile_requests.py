"""Whole HTTP requests that try to cost more than they should, and strategies for more of them.

    for request in fixed_requests():
        connection.sendall(request.content)

    @given(REQUESTS["png"])
    def test(request): ...

Images and bodies come from `hostile_images` and `hostile_bodies`; what is here sends them through
every door, and adds what is hostile about the framing. Nothing here needs a service.
"""

import base64
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests import hostile_bodies as bodies
from tests import hostile_images as images

CATEGORY = bodies.CATEGORY
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


@dataclass(frozen=True)
class HostileRequest:
    """One request as it goes over the wire; `name` says what is wrong with it."""

    name: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name} ({len(self.content)} bytes)"


def whole(
    name: str, path: str, content: bytes, headers: Mapping[str, str], method: str = "POST"
) -> HostileRequest:
    """Write a request with its length."""
    return HostileRequest(name, head(path, {**headers, **length_of(content)}, method) + content)


def head(path: str, headers: Mapping[str, str], method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def length_of(content: bytes) -> dict[str, str]:
    return {"Content-Length": str(len(content))}


def of_body(body: bodies.HostileBody, category: str = CATEGORY) -> HostileRequest:
    """Write a hostile body as a request, about a category that the service has."""
    path = body.path.replace(CATEGORY, category)
    content = body.content
    if category != CATEGORY:
        old, new = CATEGORY.encode(), category.encode()
        if "Content-Encoding" in body.headers:
            content = gzip.compress(gzip.decompress(content).replace(old, new), 6, mtime=0)
        else:
            content = content.replace(old, new)
    return whole(str(body), path, content, body.headers, body.method)


# An image through each door

HEATMAPS = ("none", "map", "overlay", "mask")
DOORS = ("bytes", "form", "json", "batch", "infer", "lookout", "gzip")


def of_image(
    name: str, image: bytes, door: str = "bytes", heatmap: str = "none", category: str = CATEGORY
) -> HostileRequest:
    """Send an image through a door; what has no heatmaps is asked for none."""
    name = f"{name}, as {door}, heatmap={heatmap}"
    asked = f"category={category}&heatmap={heatmap}"
    match door:
        case "form":
            content = bodies.form_part(b"file", image, filename=b"a.png") + b"--x--\r\n"
            return whole(name, f"/detect?{asked}", content, FORM)
        case "json" | "batch":
            listed = [{"content": base64.b64encode(image).decode()}]
            content = json.dumps(
                {"category": category, "heatmap": heatmap, "images": listed}
            ).encode()
            return whole(name, "/detect/batch" if door == "batch" else "/detect", content, JSON)
        case "infer":
            described = bodies.tensor("BYTES", [1], 4 + len(image))
            tail = len(image).to_bytes(4, "little") + image
            body = bodies.tensor_body(name, [described], tail)
            return whole(name, f"/v2/models/{category}/infer", body.content, body.headers)
        case "lookout":
            path = f"/2020-11-20/projects/{category}/models/1/detect"
            return whole(name, path, image, {"Content-Type": "image/png"})
        case "gzip":
            zipped = gzip.compress(image, 6, mtime=0)
            return whole(name, f"/detect?{asked}", zipped, {"Content-Encoding": "gzip"})
    return whole(name, f"/detect?{asked}", image, {})


def image_requests(
    name: str, strategy: st.SearchStrategy[bytes]
) -> st.SearchStrategy[HostileRequest]:
    """Images of a strategy through any door, with any heatmap."""
    return st.builds(
        of_image, st.just(name), strategy, st.sampled_from(DOORS), st.sampled_from(HEATMAPS)
    )


@st.composite
def long_images(draw: st.DrawFn) -> bytes:
    """Whole PNGs of one or a few lines, lying or standing, up to ten million pixels long."""
    long = draw(st.sampled_from([10_000, 60_000, 70_000, 300_000, 3_000_000, 10_000_000]))
    short = draw(st.integers(1, max(1, min(20, 10_000_000 // long))))
    sides = (long, short) if draw(st.booleans()) else (short, long)
    return images.black_png(*sides)


# Framing


def chunks(*pieces: bytes, extension: bytes = b"") -> bytes:
    return b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)


CHUNKED = {"Transfer-Encoding": "chunked"}
DETECT = f"/detect?category={CATEGORY}"


def long_trailer(size: int, line: bytes = b"X-T: " + b"t" * 80 + b"\r\n") -> HostileRequest:
    """A chunked body whose trailer goes on and on."""
    trailer = line * (size // len(line))
    content = head(DETECT, CHUNKED) + chunks(b"x") + b"0\r\n" + trailer + b"\r\n"
    return HostileRequest(f"a trailer of {size} bytes", content)


def one_long_trailer(size: int) -> HostileRequest:
    """A chunked body with one trailer of one line that goes on and on."""
    return long_trailer(size, b"X-T: " + b"t" * max(0, size - 7) + b"\r\n")


def long_extensions(size: int, count: int) -> HostileRequest:
    """Chunks of a byte, each with an extension that goes on and on."""
    extension = b";e=" + b"e" * (size // count)
    content = chunks(*[b"x"] * count, extension=extension)
    return HostileRequest(
        f"{count} chunk extensions, {size} bytes", head(DETECT, CHUNKED) + content + b"0\r\n\r\n"
    )


def small_chunks(count: int, size: int) -> HostileRequest:
    """A body in very many chunks."""
    content = chunks(b"x" * size) * count
    return HostileRequest(
        f"{count} chunks of {size}", head(DETECT, CHUNKED) + content + b"0\r\n\r\n"
    )


def many_headers(count: int, size: int) -> HostileRequest:
    """A request with very many headers, or very long ones."""
    headers = {f"X-{number}": "h" * size for number in range(count)}
    return HostileRequest(f"{count} headers of {size}", head(DETECT, headers | length_of(b"")))


def long_target(size: int) -> HostileRequest:
    """A path with a query of very many fields."""
    query = "&".join(f"a{number}=b" for number in range(size // 8))
    return whole(f"a query of {size} bytes", f"{DETECT}&{query}", b"x", {})


def pipelined(count: int, path: str) -> HostileRequest:
    """Very many requests at once, on one connection."""
    return HostileRequest(f"{count} requests for {path} at once", head(path, {}, "GET") * count)


def nested_gzip(levels: int, size: int) -> HostileRequest:
    """A bomb in a bomb; the header tells of one."""
    content = bytes(size)
    for _ in range(levels):
        content = gzip.compress(content, 9, mtime=0)
    return whole(
        f"{size} bytes, gzipped {levels} times", DETECT, content, {"Content-Encoding": "gzip"}
    )


def framings(size: int) -> st.SearchStrategy[HostileRequest]:
    """Requests whose framing has too much of something."""
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


SIZE = 1_000_000
REQUESTS: dict[str, st.SearchStrategy[HostileRequest]] = {
    "png": image_requests("PNG", st.one_of(images.png_images(), long_images())),
    "jpeg": image_requests("JPEG", images.jpeg_images()),
    "tiff": image_requests("TIFF", images.tiff_images()),
    "bmp": image_requests("BMP", images.bmp_images()),
    "webp": image_requests("WebP", images.webp_images()),
    "json": st.builds(of_body, bodies.json_bodies(SIZE)),
    "form": st.builds(of_body, bodies.form_bodies(SIZE)),
    "tensor": st.builds(of_body, bodies.tensor_bodies(SIZE)),
    "gzip": st.builds(lambda body: of_body(body.gzipped()), bodies.json_bodies(4 * SIZE)),
    "framing": framings(3 * SIZE),
}
"""Strategies by kind; none makes a request that a service of usual limits could not be sent."""


_FIXED_IMAGES: list[tuple[str, Callable[[], bytes], str, str]] = [
    ("PNG of 10,000,000 x 1", lambda: images.black_png(10_000_000, 1), "bytes", "overlay"),
    ("PNG of 1 x 3,000,000", lambda: images.black_png(1, 3_000_000), "bytes", "mask"),
    ("PNG of 1 x 2,999,999", lambda: images.black_png(1, 2_999_999), "lookout", "none"),
    ("PNG of 3000 x 3000", lambda: images.black_png(3_000, 3_000), "batch", "overlay"),
    ("PNG of 30,000 texts", lambda: images.png_of_many_chunks(30_000), "bytes", "none"),
    ("JPEG of 700 scans", lambda: images.jpeg_of_many_scans(3_500, 3_500, 700), "bytes", "none"),
    ("JPEG of restarts", lambda: images.jpeg_of_restarts(2_000, 2_000), "form", "none"),
    ("BMP in run lengths", lambda: images.run_length_bmp(3_000, 3_000), "bytes", "none"),
    (
        "TIFF of 30,000 strips",
        lambda: images.grey_tiff(64, 30_000, rows_per_strip=1),
        "infer",
        "none",
    ),
    ("hollow PNG", lambda: images.png(images.png_header(65_535, 65_535)), "json", "none"),
]
_FIXED_FRAMINGS: dict[str, Callable[[], HostileRequest]] = {
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


def fixed(category: str = CATEGORY) -> dict[str, Callable[[], HostileRequest]]:
    """Images and framings that once cost seconds or gigabytes, each made when it is asked for."""

    def through(
        name: str, make: Callable[[], bytes], door: str, heatmap: str
    ) -> Callable[[], HostileRequest]:
        return lambda: of_image(name, make(), door, heatmap, category)

    pictures = {row[0]: through(*row) for row in _FIXED_IMAGES}
    return {**pictures, **_FIXED_FRAMINGS}


def fixed_requests(category: str = CATEGORY, size: int = 3_000_000) -> list[HostileRequest]:
    """Every request that once cost too much."""
    known = [of_body(body, category) for body in bodies.fixed_bodies(size)]
    return [*known, *(make() for make in fixed(category).values())]
