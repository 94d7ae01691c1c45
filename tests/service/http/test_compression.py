"""Answers in the coding that the client requests."""

import gzip
import zlib

import pytest

from service.http.compression import chosen_coding, compress

CONTENT = bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("br;q=1.0, GZIP;q=0.2, deflate;q=0.5", "deflate"),
        ("gzip;q=0", None),
        ("gzip;q=x", None),
        ("*", None),
        ("identity, ;;,", None),
    ],
)
def test_the_clients_preference_counts(header, expected):
    assert chosen_coding(header) == expected


def test_an_answer_is_compressed_where_that_is_worth_it():
    body, headers = compress(CONTENT, "gzip")
    assert gzip.decompress(body) == CONTENT
    assert headers == {"Vary": "Accept-Encoding", "Content-Encoding": "gzip"}
    body, headers = compress(CONTENT, "deflate")
    assert zlib.decompress(body) == CONTENT
    assert headers["Content-Encoding"] == "deflate"
    assert compress(CONTENT, None) == (CONTENT, {"Vary": "Accept-Encoding"})
    assert compress(b"short", "gzip") == (b"short", {"Vary": "Accept-Encoding"})
