"""Invalid, damaged, odd or enormous images, posted to a running service."""

import base64
import os
import signal
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from tests import hostile_images as hostile
from tests.hostile_images import png, png_header, saved, zeros
from tests.tiff_files import write_tiff

BAD = {
    "nothing": (b"", 422, "undecodable-image"),
    "half a JPEG": (None, 422, "undecodable-image"),
    "text": (b"This is a text, and no photograph.", 415, "unsupported-image"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported-image"),
    "GIF": (saved(Image.new("P", (9, 9)), "GIF"), 415, "unsupported-image"),
    "PSD": (b"8BPS\0\1" + bytes(100), 415, "unsupported-image"),
    "NULs": (bytes(1000), 415, "unsupported-image"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_image_is_refused_and_its_neighbours_are_inspected(live, image, problem, kind):
    content, status, slug = BAD[kind]
    complete = image(64, 64, "JPEG")
    content = complete[: len(complete) // 2] if content is None else content
    expected = live.inspect(image())
    fields = {"category": "bolt"}
    with live.client() as client:
        alone = [
            client.post("/detect", params=fields, content=content),
            client.post("/detect", data=fields, files={"file": ("part.jpg", content)}),
            client.post("/detect", json=fields | {"images": [as_json(content)]}),
        ]
        files = [("file", (f"{i}.jpg", part)) for i, part in enumerate((image(), content, image()))]
        together = client.post("/detect", data=fields, files=files)
    for response in alone:
        body = problem(response, status, slug)
        assert body["decision"] == "UNDECIDED"
    assert together.status_code == 200
    first, bad, last = together.json()["results"]
    assert together.json()["decision"] == "UNDECIDED"
    assert bad["decision"] == "UNDECIDED"
    assert bad["error"]["type"].endswith(slug)
    for result in (first, last):
        assert result["decision"] == "OK"
        assert result["raw_score"] == pytest.approx(expected["raw_score"], rel=1e-4)


def as_json(content: bytes) -> dict[str, str]:
    return {"content": base64.b64encode(content).decode()}


def odd_images() -> dict[str, tuple[bytes, tuple[int, int]]]:
    """Images by kind, with the expected width and height."""
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    return {
        "grey": (saved(picture.convert("L")), (30, 20)),
        "grey and alpha": (saved(picture.convert("LA")), (30, 20)),
        "RGBA": (saved(picture.convert("RGBA")), (30, 20)),
        "palette": (saved(picture.convert("P"), "PNG", transparency=3), (30, 20)),
        "bits": (saved(picture.convert("1"), "TIFF"), (30, 20)),
        "CMYK": (saved(picture.convert("CMYK"), "JPEG"), (30, 20)),
        "16 bits": (saved(deep), (30, 20)),
        "16 bits in TIFF": (saved(deep, "TIFF"), (30, 20)),
        "turned": (saved(picture, "JPEG", exif=exif), (20, 30)),
        "1x1": (saved(picture.resize((1, 1))), (1, 1)),
        "wide": (saved(picture.resize((20_000, 1))), (20_000, 1)),
        "tall": (saved(picture.resize((1, 20_000))), (1, 20_000)),
    }


ODD = odd_images()


@pytest.mark.parametrize("kind", ODD)
def test_odd_images_are_inspected_as_they_lie(live, kind):
    content, (width, height) = ODD[kind]
    fields = {"category": "nut", "heatmap": "map"}
    with live.client() as client:
        response = client.post("/detect", params=fields, content=content)
    assert response.status_code == 200, response.text
    (result,) = response.json()["results"]
    assert (result["image"]["width"], result["image"]["height"]) == (width, height)
    assert (result["decision"], result["error"]) == ("NG", None)
    drawn = Image.open(BytesIO(base64.b64decode(result["heatmap"])))
    assert drawn.size == (width, height)


def test_the_depth_of_a_grey_image_changes_nothing(live):
    scores = [live.inspect(ODD[kind][0])["raw_score"] for kind in ("grey", "16 bits")]
    scores.append(live.inspect(ODD["16 bits in TIFF"][0])["raw_score"])
    assert scores == pytest.approx([scores[0]] * 3, rel=1e-4)


def test_a_bomb_of_50_000_by_50_000_pixels_takes_no_memory(live, image, problem):
    """Complete and valid: 2.5 gigapixels of one bit each in a third of a megabyte."""
    bomb = png(png_header(50_000, 50_000, depth=1), (b"IDAT", zeros(50_000 * 6251)))
    assert len(bomb) < 2_000_000
    with live.client() as client, live.bystander(image()), live.memory_within(64):
        for _ in range(3):
            response = client.post("/detect?category=bolt", content=bomb)
            body = problem(response, 413, "image-too-large")
            assert "50000 x 50000" in body["detail"]
            assert body["decision"] == "UNDECIDED"


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP", b"iTXt"])
def test_a_bomb_beside_the_pixels_takes_no_memory(live, image, kind):
    """Texts and colour profiles are compressed too: 256 MB in a small image."""
    packed = zeros(256 * 2**20)
    data = b"k\0\1\0\0\0" + packed if kind == b"iTXt" else b"k\0\0" + packed
    rows = zlib.compress(b"".join(b"\0" + bytes(8) for _ in range(8)))
    content = png(png_header(8, 8), (kind, data), (b"IDAT", rows))
    with live.client() as client, live.bystander(image()), live.memory_within(64):
        response = client.post("/detect?category=bolt", content=content)
    assert response.status_code in {200, 422}, response.text
    if response.status_code == 422:
        assert response.json()["decision"] == "UNDECIDED"


def test_an_image_may_not_claim_more_than_it_holds(live, image, problem):
    """The header is within the limits, without pixels: the service must not invent any."""
    hollow = png(png_header(2000, 1999, colour=2), (b"IDAT", zlib.compress(b"")))
    with live.client() as client, live.memory_within(64):
        for _ in range(3):
            body = problem(
                client.post("/detect?category=bolt", content=hollow), 422, "undecodable-image"
            )
            assert body["decision"] == "UNDECIDED"


DEAR = {
    "a line of 3 million pixels": (hostile.black_png(3_000_000, 1), 413, "3000000 x 1"),
    "a column of 3 million pixels": (hostile.black_png(1, 3_000_000), 413, "1 x 3000000"),
    "a line of 60,000 pixels": (hostile.black_png(60_000, 1), 413, "60000 x 1"),
    "a JPEG of 700 scans": (hostile.jpeg_of_many_scans(1_990, 1_990, 700), 413, "scans"),
    "a JPEG of 100,000 segments": (hostile.jpeg_of_many_segments(100_000), 413, "segments"),
    "a JPEG of 30 MB of EXIF": (hostile.jpeg_of_exif(bytes(1_900_000)), 413, "EXIF"),
    "a TIFF of 60,000 strips": (hostile.grey_tiff(60, 60_000, rows_per_strip=1), 413, "strips"),
    "a TIFF of enormous tiles": (
        hostile.grey_tiff(1, 1, tile=(60_000, 60_000), packed=b""),
        413,
        "tiles",
    ),
    "a PNG of 60,000 texts": (hostile.png_of_many_chunks(60_000), 413, "chunks"),
    "a BMP in run lengths": (hostile.run_length_bmp(2_000, 2_000), 415, "RLE"),
    "a fax of damaged lines": (
        hostile.grey_tiff(
            60,
            60_000,
            compression=3,
            packed=np.random.default_rng(0).bytes(900_000),
            more={258: (hostile.SHORT, (1,))},
        ),
        415,
        "fax",
    ),
}


@pytest.mark.parametrize("kind", DEAR)
@pytest.mark.parametrize("heatmap", ["none", "overlay"])
def test_an_image_that_costs_too_much_is_refused_by_its_header(live, image, problem, kind, heatmap):
    content, status, message = DEAR[kind]
    slug = {413: "image-too-large", 415: "unsupported-image"}[status]
    logged = len(live.log)
    fields = {"category": "bolt", "heatmap": heatmap}
    with live.client() as client, live.bystander(image()), live.memory_within(48):
        started = time.monotonic()
        body = problem(client.post("/detect", params=fields, content=content), status, slug)
        assert time.monotonic() - started < 5
    assert message in body["detail"]
    assert body["decision"] == "UNDECIDED"
    assert len(live.log) - logged < 200


@pytest.mark.parametrize("shape", [(1, 20_001, 3), (20_001, 1, 3)])
def test_a_tensor_of_pixels_has_the_same_limits_of_sides(live, problem, shape):
    head = {"name": "image", "datatype": "UINT8", "shape": [1, *shape]}
    fields = {"inputs": [{**head, "data": [0] * 60_003}]}
    with live.client() as client:
        body = problem(client.post("/v2/models/bolt/infer", json=fields), 413, "image-too-large")
    assert "20000 times its shorter" in body["detail"]
    assert body["decision"] == "UNDECIDED"


def test_a_slow_image_ends_at_its_deadline_and_good_parts_are_answered_meanwhile(live, image):
    """It is within every limit but takes most of a second: its process is killed."""
    slow = hostile.jpeg_of_many_scans(1_990, 1_990, 140)
    fields = {"category": "bolt"}
    with live.client() as client:
        in_time = client.post("/detect", params=fields, content=slow)
        assert in_time.status_code == 200, in_time.text
        before = set(live.decode_children)
        assert before
        with live.bystander(image()) as seconds:
            for _ in range(3):
                headers = {"X-Request-Timeout-Ms": "150"}
                late = client.post("/detect", params=fields, content=slow, headers=headers)
                assert late.status_code == 504
                assert late.json()["decision"] == "UNDECIDED"
        assert max(seconds) < 5
        live.until(lambda: not before & set(live.decode_children), "end of the decode child")
        again = client.post("/detect", params=fields, content=slow)
    (first,), (second,) = in_time.json()["results"], again.json()["results"]
    assert second["raw_score"] == pytest.approx(first["raw_score"], rel=1e-4)


def test_a_decode_child_that_is_killed_costs_its_image_alone(live, image, problem):
    slow = hostile.jpeg_of_many_scans(1_990, 1_990, 140)
    fields = {"category": "bolt"}
    with live.client() as client, live.bystander(image()), ThreadPoolExecutor(1) as thread:
        assert client.post("/detect", params=fields, content=slow).status_code == 200
        posting = thread.submit(client.post, "/detect", params=fields, content=slow)
        while not posting.done():
            for pid in live.decode_children:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        body = problem(posting.result(), 500, "inspection-failed")
        assert "signal 9" in body["detail"]
        assert body["decision"] == "UNDECIDED"
        assert client.post("/detect", params=fields, content=slow).status_code == 200


def as_cameras_write() -> dict[str, bytes]:
    """One picture in many formats; the first is the plain one."""
    grey = np.random.default_rng(7).integers(0, 256, (20, 30)).astype(np.uint16)
    eight, deep, twelve = grey.astype(np.uint8), grey << 8, grey << 4
    plain = Image.fromarray(eight)
    hidden = Image.merge("RGBA", [plain, plain, plain, Image.new("L", plain.size)])
    return {
        "PNG": saved(plain),
        "RGBA, alpha 0": saved(hidden),
        "RGBA TIFF, alpha 0": saved(hidden, "TIFF"),
        "16 bits, 0 is white": write_tiff((65535 - deep)[..., None], bits=16, photometric=0),
        "12 bits packed": write_tiff(twelve[..., None], bits=12, photometric=1, compression=5),
        "16 bits in planes": write_tiff(
            np.dstack([deep] * 3), bits=16, photometric=2, planar=True, order=">", tile=(16, 16)
        ),
        "orientation 9": saved(
            plain, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09" + bytes(7)
        ),
        "PGM of 12 bits": b"P5 30 20 4095\n" + twelve.astype(">u2").tobytes(),
    }


def test_pictures_as_cameras_write_them_have_one_score(live):
    scores = {}
    with live.client() as client:
        for name, content in as_cameras_write().items():
            answer = client.post("/detect", params={"category": "nut"}, content=content)
            assert answer.status_code == 200, (name, answer.text)
            scores[name] = answer.json()["results"][0]["raw_score"]
    assert scores == dict.fromkeys(scores, pytest.approx(scores["PNG"], rel=1e-4))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (imagecodecs.jpeg8_encode(np.zeros((8, 8), np.uint16), bitspersample=12), "12 bits"),
        (imagecodecs.ljpeg_encode(np.zeros((8, 8), np.uint8)), "lossless JPEG"),
        (imagecodecs.jpegls_encode(np.zeros((8, 8), np.uint8)), "JPEG-LS"),
        (imagecodecs.jpeg2k_encode(np.zeros((8, 8), np.uint8)), "JPEG 2000"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
        (write_tiff(np.zeros((8, 8, 1), np.uint8), bits=8, photometric=32803), "mosaic"),
    ],
)
def test_kinds_that_are_not_read_are_refused_by_name(live, problem, content, name):
    with live.client() as client:
        answer = client.post("/detect", params={"category": "nut"}, content=content)
    assert name in problem(answer, 415, "unsupported-image")["detail"]
