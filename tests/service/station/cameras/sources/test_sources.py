"""Frames that waited in a buffer while nobody read are not taken for new ones."""

import socket
import threading
import time
from contextlib import closing, contextmanager

import pytest

from service.station.cameras.sources.mjpeg import MjpegStream
from service.station.cameras.sources.source import SourceLost
from service.station.cameras.sources.video import RtspStream, VideoDevice
from service.station.settings import StreamCamera, UsbCamera
from tests.service.station.cameras.numbered import (
    HEIGHT,
    WIDTH,
    MjpegCamera,
    RtspCamera,
    jpeg,
    number_in,
    pixels,
)


def stream_of(url):
    settings = StreamCamera(url=url, lost_after_ms=2_000)
    return RtspStream(settings) if url.startswith("rtsp") else MjpegStream(settings)


def number_of(frame):
    return number_in(frame if isinstance(frame, bytes) else jpeg(frame))


@pytest.mark.parametrize(
    "device",
    [MjpegCamera(), MjpegCamera(with_length=False), MjpegCamera(is_chunked=True), RtspCamera()],
    ids=["length", "boundary", "chunks", "rtsp"],
)
def test_buffered_frames_are_known_to_be_old(device):
    with device.listening() as url, closing(stream_of(url)) as source:
        source.open()
        end_s = time.monotonic() + (1.2 if isinstance(device, RtspCamera) else 0.1)
        while time.monotonic() < end_s:
            source.grab()
        time.sleep(0.3)
        triggered_s = time.monotonic()
        skipped = []
        while (taken_after_s := source.grab()) < triggered_s:
            skipped.append(number_of(source.retrieve()))
        number = number_of(source.retrieve())
        assert triggered_s <= taken_after_s <= time.monotonic()
        assert triggered_s <= device.taken_s[number]
        old = [one for one in skipped if device.taken_s[one] < triggered_s]
        assert len(old) >= 5


@contextmanager
def answering(content):
    """A server that answers one request with bytes, then ends the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(content)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/video"
        thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=x\r\n\r\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", "answered 200 text/html, expected"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "answered 503 without type"),
        (b"no HTTP at all\r\n\r\n", "no stream from"),
        (HEAD + b"--x\r\nContent-Length: 100\r\n\r\nhalf", "the camera ended it"),
        (HEAD + b"--x\r\nContent-Length: 99999999999\r\n\r\n", "an image of 99999999999 bytes"),
        (HEAD + b"y" * 300_000, "no b'--x' within 65536 bytes"),
    ],
)
def test_an_answer_that_is_no_stream_says_why(content, message):
    with (
        answering(content) as url,
        closing(stream_of(url)) as source,
        pytest.raises(SourceLost, match=message),
    ):
        source.open()
        source.grab()


def test_a_boundary_that_the_header_names_with_its_dashes_is_understood():
    image = jpeg(pixels(3))
    head = HEAD.replace(b"boundary=x", b'boundary="--x"')
    part = b"--x\r\nContent-Type: image/jpeg\r\n\r\n" + image + b"\r\n"
    with answering(head + part + part + b"--x") as url, closing(stream_of(url)) as source:
        source.open()
        for _ in range(2):
            source.grab()
            assert source.retrieve() == image


def test_a_device_that_offers_another_size_is_not_used(tmp_path):
    path = tmp_path / "device.y4m"
    frame = b"FRAME\n" + pixels(1).tobytes()
    path.write_bytes(b"YUV4MPEG2 W%d H%d F30:1 Ip A1:1 Cmono\n" % (WIDTH, HEIGHT) + frame * 9)
    settings = UsbCamera(device=path, width=640, height=480)
    with (
        closing(VideoDevice(settings)) as source,
        pytest.raises(SourceLost, match=rf"offers {WIDTH} x {HEIGHT} pixels, not 640 x 480"),
    ):
        source.open()


@pytest.mark.parametrize("device", [63, "/dev/video63"])
def test_a_device_that_is_not_there_is_lost(device):
    with (
        closing(VideoDevice(UsbCamera(device=device))) as source,
        pytest.raises(SourceLost, match=f"{device} cannot be opened"),
    ):
        source.open()
