"""JSON within bounds: the counts, the cut-out strings, and the refusals."""

import base64
import json
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.documents import JsonBounds, read_json
from service.errors import BodyTooLarge, MalformedBody
from tests.hostile_bodies import FILLERS

BOUNDS = JsonBounds(max_bytes=200_000, max_values=2000, max_members=1000, instead="send less")
LONG = "A" * 20_000


def text_of(document, value):
    return bytes(document.long_text(value)).decode()


def test_a_short_document_is_what_it_is():
    document = read_json(b'{"a": [1, 2.5, null, "x"]}', BOUNDS)
    assert document.value == {"a": [1, 2.5, None, "x"]}
    assert text_of(document, "x") == "x"
    document.close()


def test_long_strings_stay_where_they_lie():
    body = json.dumps({"images": [{"content": LONG}, {"content": "AAAA"}, {"content": LONG * 3}]})
    document = read_json(body.encode(), BOUNDS)
    images = document.value["images"]
    assert "20000" in images[0]["content"]
    assert [text_of(document, image["content"]) for image in images] == [LONG, "AAAA", LONG * 3]
    document.close()


def test_a_long_string_counts_for_nothing():
    body = json.dumps({"content": "," * 300_000}).encode()
    document = read_json(body, BOUNDS)
    assert text_of(document, document.value["content"]) == "," * 300_000


@pytest.mark.parametrize("escape", ["\\/", "\\u002F", '\\"', "\\\\", "\\n"])
@pytest.mark.parametrize("before", ["", "A", "\\\\", "\\\\\\\\"])
def test_a_long_string_is_read_as_it_is_meant(escape, before):
    written = f"{before}{escape}" + "A" * 5000 + escape
    body = ('{"a":"' + written + '","b":"' + "B" * 20_000 + '"}').encode()
    document = read_json(body, BOUNDS)
    meant = json.loads(body)
    assert text_of(document, document.value["a"]) == meant["a"]
    assert text_of(document, document.value["b"]) == meant["b"]


def test_escapes_are_read_piece_by_piece(monkeypatch):
    monkeypatch.setattr("service.api.documents._AT_ONCE", 1000)
    content = base64.b64encode(bytes(range(256)) * 100).decode()
    body = ('{"a":"' + content.replace("/", "\\/").replace("+", "\\u002B") + '"}').encode()
    document = read_json(body, BOUNDS)
    assert text_of(document, document.value["a"]) == content


def test_a_long_string_where_none_may_stand_is_refused():
    document = read_json(json.dumps({"category": LONG, "content": LONG}).encode(), BOUNDS)
    document.long_text(document.value["content"])
    with pytest.raises(BodyTooLarge, match="20000 bytes"):
        document.close()


def test_a_string_named_as_a_long_one_is_taken_once():
    """A client may send the placeholder of its long string as text, and gets the string once."""
    name = "a string of 20000 bytes, #0"
    body = json.dumps({"content": LONG, "other": name}).encode()
    document = read_json(body, BOUNDS)
    assert text_of(document, document.value["content"]) == LONG
    assert text_of(document, document.value["other"]) == name


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" + b"0," * 20_000 + b"0]", "2000 values"),
        (b"[" + b"[]," * 10_000 + b"0]", "2000 values"),
        (b"{" + b",".join(b'"%d":0' % n for n in range(1999)) + b" " * 9000 + b"}", "1000 members"),
        (b"[" + b'"",' * 10_000 + b'""]', "8000 quotation marks"),
        (b" " * 300_000 + b"0", "200000 bytes"),
        (b'"' + b"A" * 300_000, "200000 bytes"),
    ],
)
def test_too_much_is_refused_and_the_bound_named(body, message):
    with pytest.raises(BodyTooLarge, match=f"{message}.*: send less"):
        read_json(body, BOUNDS)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 100_000, b'{"a":' * 30_000, b"9" * 20_000, b"1" * 5000, b"\x00" * 20_000,
     b"," * 20_000, b"[" + b"7" * 301 + b" " * 20_000 + b"]"],
)  # fmt: skip
def test_what_is_no_json_is_said_to_be_none(body):
    with pytest.raises(MalformedBody) as refusal:
        read_json(body, BOUNDS)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("filler", FILLERS)
def test_whatever_is_sent_is_read_or_refused(filler):
    for size in (10, 20_000, 1_000_000):
        for body in (FILLERS[filler](size), b'{"a":%b}' % FILLERS[filler](size)):
            try:
                read_json(body, BOUNDS).close()
            except (BodyTooLarge, MalformedBody) as error:
                assert len(str(error)) < 400


_TEXTS = st.text(st.sampled_from(string.printable + "é\u2028\U0001f529"), max_size=20)
_LONG_TEXTS = st.builds(lambda text, n: text * n, _TEXTS, st.sampled_from([1, 500]))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | _LONG_TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(
    max_examples=100, derandomize=True, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(_VALUES, st.booleans())
def test_a_document_with_long_strings_means_what_a_parser_says(value, ascii_alone):
    """Python's parser is the reference; padding makes the document long enough for cutting."""
    body = json.dumps([value, "x" * 20_000], ensure_ascii=ascii_alone).encode()
    document = read_json(body, JsonBounds(10**7, 10**6, 10**6))

    def meant(read):
        if isinstance(read, str):
            return text_of(document, read)
        if isinstance(read, list):
            return [meant(item) for item in read]
        return {k: meant(v) for k, v in read.items()} if isinstance(read, dict) else read

    try:
        assert meant(document.value) == json.loads(body)
    finally:
        document.long.clear()
