"""The start benchmark's arithmetic and waiting, without starting a service."""

import threading
import urllib.request
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from benchmarks.loading import CannotMeasure
from benchmarks.start import Start, await_answer, form, summary


class Running:
    def poll(self):
        return None


class Ended:
    def poll(self):
        return 1


@pytest.fixture
def starting_server():
    """A server that is not ready at first; yields its URL and the requested paths."""
    paths = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(503 if len(paths) < 3 else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()
        thread.join()


def test_medians_and_extremes_are_of_each_stage():
    starts = [
        Start(1.0, 7.0, 7.5, 9.0), Start(3.0, 6.0, 6.25, 8.0), Start(2.0, 8.0, 9.0, 8.5)
    ]  # fmt: skip
    stages = summary(starts)
    assert stages["listening_s"] == {"median": 2.0, "least": 1.0, "most": 3.0}
    assert stages["answered_s"] == {"median": 7.5, "least": 6.25, "most": 9.0}
    assert stages["processor_s"] == {"median": 8.5, "least": 8.0, "most": 9.0}
    assert stages["image_s"] == {"median": 0.5, "least": 0.25, "most": 1.0}


def test_the_form_is_one_that_parsers_read():
    body, headers = form("solar", b"\x89PNG\r\n\x1a\n\x00")
    head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
    category, file = BytesParser().parsebytes(head + body).get_payload()
    assert category.get_payload() == "solar"
    assert category.get_param("name", header="content-disposition") == "category"
    assert file.get_param("name", header="content-disposition") == "file"
    assert b"\r\n\r\n\x89PNG\r\n\x1a\n\x00\r\n--" in body


def test_it_asks_until_the_service_is_ready(starting_server):
    url, paths = starting_server
    await_answer(Running(), urllib.request.Request(f"{url}/readyz"))
    assert paths == ["/readyz"] * 3


def test_a_service_that_has_ended_is_not_waited_for(starting_server):
    url, _ = starting_server
    with pytest.raises(CannotMeasure, match="ended"):
        await_answer(Ended(), urllib.request.Request(f"{url}/readyz"))
