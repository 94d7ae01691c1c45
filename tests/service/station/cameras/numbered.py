"""Images that carry a number as pixels, and cameras of the network that send them."""

import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from io import BytesIO

import numpy as np
from PIL import Image

BITS, BLOCK = 16, 16
WIDTH, HEIGHT = BITS * BLOCK, 2 * BLOCK


def pixels(number, width=WIDTH, height=HEIGHT):
    """Return grey pixels with the number in binary, as blocks that survive compression."""
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    row = np.repeat(np.where(bits, 220, 40).astype(np.uint8), BLOCK)
    rows = np.zeros((height, width), np.uint8)
    rows[:, :WIDTH] = row
    return rows


def number_in(content):
    grey = np.asarray(Image.open(BytesIO(content)).convert("L"), np.float64)
    blocks = grey[:HEIGHT, :WIDTH].mean(axis=0).reshape(BITS, BLOCK).mean(axis=1)
    return sum(1 << bit for bit, level in enumerate(blocks) if level > 128)


def jpeg(rows):
    content = BytesIO()
    Image.fromarray(rows).save(content, "JPEG", quality=90)
    return content.getvalue()


class NumberedCamera:
    """A camera in the network: each frame has the next number, whose time is noted.

    `delay_s` holds frames back after they were taken; `is_silent` sends nothing; `cut` ends all
    connections.
    """

    def __init__(self, period_s=0.03):
        self.period_s = period_s
        self.taken_s = []
        self.delay_s = 0.0
        self.is_silent = False
        self.image = pixels
        self.connections = 0
        self._sockets = set()
        self._is_over = threading.Event()

    def taken_before(self, moment_s):
        """Return how many frames were taken before a moment of the monotonic clock."""
        return sum(taken_s < moment_s for taken_s in self.taken_s)

    def cut(self):
        for connection in list(self._sockets):
            connection.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def listening(self, port=0):
        listener = socket.create_server(("127.0.0.1", port))
        self._is_over.clear()
        thread = threading.Thread(target=self._accept, args=[listener])
        thread.start()
        self.port = listener.getsockname()[1]
        try:
            yield self.url
        finally:
            self._is_over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            listener.close()

    def _accept(self, listener):
        threads = []
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                break
            self.connections += 1
            self._sockets.add(connection)
            threads.append(threading.Thread(target=self._guarded, args=[connection]))
            threads[-1].start()
        self.cut_all()
        for thread in threads:
            thread.join()

    def cut_all(self):
        for connection in list(self._sockets):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _guarded(self, connection):
        try:
            self.serve(connection)
        except OSError:
            pass
        finally:
            self._sockets.discard(connection)
            connection.close()

    def frames(self):
        """Yield a number at each period; frames that are held back come together later."""
        held = []
        while not self._is_over.wait(self.period_s):
            if self.is_silent:
                continue
            number = len(self.taken_s)
            self.taken_s.append(time.monotonic())
            held.append(number)
            while held and time.monotonic() >= self.taken_s[held[0]] + self.delay_s:
                yield held.pop(0)


class MjpegCamera(NumberedCamera):
    """MJPEG over HTTP; `with_length` gives each part its length, `is_chunked` sends chunks."""

    def __init__(self, *, with_length=True, is_chunked=False, login=None, **settings):
        super().__init__(**settings)
        self.with_length = with_length
        self.is_chunked = is_chunked
        self.login = login
        self.kind = "multipart/x-mixed-replace; boundary=frame"

    @property
    def url(self):
        login = f"{self.login}@" if self.login else ""
        return f"http://{login}127.0.0.1:{self.port}/video"

    def serve(self, connection):
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65_536)
        if self.login and b"Authorization: Basic" not in request:
            answer = 'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="camera"\r\n'
            connection.sendall(f"{answer}Content-Length: 0\r\n\r\n".encode())
            return
        coding = "Transfer-Encoding: chunked\r\n" if self.is_chunked else ""
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: {self.kind}\r\n{coding}\r\n".encode())
        for number in self.frames():
            self._send(connection, jpeg(self.image(number)))

    def _send(self, connection, content):
        length = f"Content-Length: {len(content)}\r\n" if self.with_length else ""
        head = f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode()
        part = head + content + b"\r\n"
        if self.is_chunked:
            half = len(part) // 2
            for piece in (part[:half], part[half:]):
                connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        else:
            connection.sendall(part)


class RtspCamera(NumberedCamera):
    """RTSP with RTP in its own connection; the pixels are sent raw (RFC 4175), as YCbCr 4:2:2."""

    CLOCK = 90_000

    @property
    def url(self):
        return f"rtsp://127.0.0.1:{self.port}/live"

    def serve(self, connection):
        requests = connection.makefile("rb")
        while line := requests.readline():
            method = line.split()[0].decode()
            headers = {}
            while header := requests.readline().strip():
                name, _, value = header.decode().partition(":")
                headers[name.lower()] = value.strip()
            self._answer(connection, method, headers["cseq"])
            if method == "PLAY":
                break
        for number in self.frames():
            self._send(connection, number)

    def _answer(self, connection, method, sequence):
        extra, body = "", ""
        if method == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
                "m=video 0 RTP/AVP 96\r\na=control:track\r\na=rtpmap:96 raw/90000\r\n"
                f"a=fmtp:96 sampling=YCbCr-4:2:2; width={WIDTH}; height={HEIGHT}; depth=8\r\n"
            )
            extra = f"Content-Type: application/sdp\r\nContent-Base: {self.url}/\r\n"
        elif method == "SETUP":
            extra = "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        elif method == "PLAY":
            extra = "Session: 1\r\n"
        elif method == "OPTIONS":
            extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        head = f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())

    def _send(self, connection, number):
        grey = self.image(number)
        packed = np.full((HEIGHT, WIDTH // 2, 4), 128, np.uint8)  # Cb Y Cr Y
        packed[..., 1] = grey[:, ::2]
        packed[..., 3] = grey[:, 1::2]
        stamp = int(self.taken_s[number] * self.CLOCK) & 0xFFFFFFFF
        for y in range(HEIGHT):
            self._sequence = (getattr(self, "_sequence", 0) + 1) & 0xFFFFFFFF
            line = packed[y].tobytes()
            mark = 0x80 if y == HEIGHT - 1 else 0
            rtp = (
                struct.pack("!BBHII", 0x80, mark | 96, self._sequence & 0xFFFF, stamp, 7)
                + struct.pack("!HHHH", self._sequence >> 16, len(line), y, 0)
                + line
            )
            connection.sendall(struct.pack("!BBH", 0x24, 0, len(rtp)) + rtp)
