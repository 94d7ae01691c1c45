"""Complete HTTP requests that try to cost more than they should, and strategies for more.

    for request in fixed_requests():
        connection.sendall(request.content)

    @given(requests("png"))
    def test(request): ...

Sends the images, bodies and framings of the other `hostile_` modules through every door. Nothing
here needs a service.
"""

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests import hostile_bodies as bodies
from tests import hostile_framing as framing
from tests import hostile_images as images
from tests.hostile_framing import HostileRequest, with_length

CATEGORY = bodies.CATEGORY
_SEED = 20_260_101
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def of_body(body: bodies.HostileBody, category: str = CATEGORY) -> HostileRequest:
    path = body.path.replace(CATEGORY, category)
    content = body.content
    if category != CATEGORY:
        old, new = CATEGORY.encode(), category.encode()
        if "Content-Encoding" in body.headers:
            content = gzip.compress(gzip.decompress(content).replace(old, new), 6, mtime=0)
        else:
            content = content.replace(old, new)
    return with_length(str(body), path, content, body.headers, body.method)


# An image through each door

HEATMAPS = ("none", "map", "overlay", "mask")
DOORS = ("bytes", "form", "json", "batch", "infer", "lookout", "gzip")


def of_image(
    name: str, image: bytes, door: str = "bytes", heatmap: str = "none", category: str = CATEGORY
) -> HostileRequest:
    """Request a heatmap only where the door has them."""
    name = f"{name}, as {door}, heatmap={heatmap}"
    query = f"category={category}&heatmap={heatmap}"
    match door:
        case "form":
            content = bodies.form_part(b"file", image, filename=b"a.png") + b"--x--\r\n"
            return with_length(name, f"/detect?{query}", content, FORM)
        case "json" | "batch":
            listed = [{"content": base64.b64encode(image).decode()}]
            content = json.dumps(
                {"category": category, "heatmap": heatmap, "images": listed}
            ).encode()
            return with_length(
                name, "/detect/batch" if door == "batch" else "/detect", content, JSON
            )
        case "infer":
            described = bodies.tensor("BYTES", [1], 4 + len(image))
            tail = len(image).to_bytes(4, "little") + image
            body = bodies.tensor_body(name, [described], tail)
            return with_length(name, f"/v2/models/{category}/infer", body.content, body.headers)
        case "lookout":
            path = f"/2020-11-20/projects/{category}/models/1/detect"
            return with_length(name, path, image, {"Content-Type": "image/png"})
        case "gzip":
            zipped = gzip.compress(image, 6, mtime=0)
            return with_length(name, f"/detect?{query}", zipped, {"Content-Encoding": "gzip"})
    return with_length(name, f"/detect?{query}", image, {})


def image_requests(
    name: str, strategy: st.SearchStrategy[bytes], category: str = CATEGORY
) -> st.SearchStrategy[HostileRequest]:
    return st.builds(
        of_image,
        st.just(name),
        strategy,
        st.sampled_from(DOORS),
        st.sampled_from(HEATMAPS),
        st.just(category),
    )


@st.composite
def long_images(draw: st.DrawFn) -> bytes:
    """One or a few rows or columns, up to ten million pixels long."""
    long = draw(st.sampled_from([10_000, 60_000, 70_000, 300_000, 3_000_000, 10_000_000]))
    short = draw(st.integers(1, max(1, min(20, 10_000_000 // long))))
    sides = (long, short) if draw(st.booleans()) else (short, long)
    return images.black_png(*sides)


SIZE = 1_000_000
KINDS = ("png", "jpeg", "tiff", "bmp", "webp", "json", "gzip", "form", "tensor", "framing")


def requests(kind: str, category: str = CATEGORY) -> st.SearchStrategy[HostileRequest]:
    def of(strategy: st.SearchStrategy[bodies.HostileBody]) -> st.SearchStrategy[HostileRequest]:
        return st.builds(of_body, strategy, st.just(category))

    def aimed(request: HostileRequest) -> HostileRequest:
        target = f"/detect?category={category}".encode()
        return replace(request, content=request.content.replace(framing.DETECT.encode(), target, 1))

    match kind:
        case "png":
            pictures = st.one_of(images.png_images(), long_images())
        case "jpeg":
            pictures = images.jpeg_images()
        case "tiff":
            pictures = images.tiff_images()
        case "bmp":
            pictures = images.bmp_images()
        case "webp":
            pictures = images.webp_images()
        case "json":
            return of(bodies.json_bodies(SIZE))
        case "gzip":
            return of(bodies.json_bodies(4 * SIZE).map(lambda body: body.gzipped()))
        case "form":
            return of(bodies.form_bodies(SIZE))
        case "tensor":
            return of(bodies.tensor_bodies(SIZE))
        case "framing":
            return framing.framings(3 * SIZE).map(aimed)
    return image_requests(kind, pictures, category)


def drawn(kind: str, count: int, category: str = CATEGORY) -> list[HostileRequest]:
    """Draw `count` requests, always the same ones."""
    drawn_requests: list[HostileRequest] = []

    @seed(_SEED)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(kind, category))
    def take(request: HostileRequest) -> None:
        drawn_requests.append(request)

    take()
    return drawn_requests


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


def fixed(category: str = CATEGORY) -> dict[str, Callable[[], HostileRequest]]:
    """Images and framings that once cost seconds or gigabytes, made on demand."""

    def through(
        name: str, make: Callable[[], bytes], door: str, heatmap: str
    ) -> Callable[[], HostileRequest]:
        return lambda: of_image(name, make(), door, heatmap, category)

    pictures = {row[0]: through(*row) for row in _FIXED_IMAGES}
    return {**pictures, **framing.FIXED}


def fixed_requests(category: str = CATEGORY, size: int = 3_000_000) -> list[HostileRequest]:
    hostile = [of_body(body, category) for body in bodies.fixed_bodies(size)]
    return [*hostile, *(make() for make in fixed(category).values())]


def every_request(category: str = CATEGORY, count: int = 30) -> list[HostileRequest]:
    """Return all fixed requests, and `count` drawn ones of each kind."""
    more = [request for kind in KINDS for request in drawn(kind, count, category)]
    return [*fixed_requests(category), *more]
