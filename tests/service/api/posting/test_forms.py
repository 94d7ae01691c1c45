"""Forms: fields per file, charsets, and the spellings of a file's name."""

import base64
import json

import pytest

from service.api.posting.forms import MAX_FILENAME, filename_of
from tests.hostile_bodies import CODECS, form_part

FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def posted(line, *parts, path="/detect", content_type=FORM["Content-Type"]):
    content = b"".join(parts) + b"--x--\r\n"
    return line.post(path, content=content, headers={"Content-Type": content_type})


def file(content, *headers, filename=b"a.png"):
    return form_part(b"file", content, *headers, filename=filename)


def filename_in(response):
    assert response.status_code == 200, response.text
    return response.json()["results"][0]["filename"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("category", ("bolt", "nut")),
        ("part_id", ("a", "b")),
        ("heatmap", ("none", "map")),
        ("priority", ("high", "normal")),
        ("meta", ("{}", '{"a":1}')),
    ],
)
@pytest.mark.parametrize("path", ["/detect", "/detect/batch"])
def test_fields_that_differ_are_refused_and_both_named(line, image, problem, name, values, path):
    parts = [form_part(name.encode(), value.encode()) for value in values]
    body = problem(posted(line, *parts, file(image()), path=path), 422, "invalid-request")
    assert name in body["detail"]
    for value in values:
        assert repr(value) in body["detail"]
    assert body["decision"] == "UNDECIDED"


def test_a_field_said_twice_is_said_once(line, image):
    bolt = form_part(b"category", b"bolt")
    assert posted(line, bolt, file(image()), bolt).status_code == 200


@pytest.mark.parametrize("path", ["/detect", "/v2/models/bolt", "/2020-11-20/projects/bolt/models"])
def test_query_parameters_that_differ_are_refused(line, image, problem, path):
    query = "?category=bolt&category=nut"
    if path == "/detect":
        body = problem(line.post(path + query, content=image()), 422, "invalid-request")
        assert "'bolt' and 'nut'" in body["detail"]
        same = line.post("/detect?category=bolt&category=bolt", content=image())
        assert same.status_code == 200
    else:
        response = line.get(path + query)
        assert response.status_code in {400, 422}
        assert "'bolt' and 'nut'" in response.text


def test_a_query_of_many_parameters_is_refused(line, problem):
    response = line.post("/detect?" + "&".join(f"a{i}=1" for i in range(500)), content=b"")
    assert "100 parameters" in problem(response, 422, "invalid-request")["detail"]


@pytest.mark.parametrize("codec", [name for name in CODECS if name.isprintable() and name])
def test_a_charset_other_than_utf8_is_refused(line, image, problem, codec):
    bolt, picture = form_part(b"category", b"bolt"), file(image())
    of_form = posted(line, bolt, picture, content_type=f"{FORM['Content-Type']}; charset={codec}")
    typed = form_part(b"category", b"bolt", b"Content-Type: text/plain; charset=" + codec.encode())
    charset_field = form_part(b"_charset_", codec.encode())
    for response in (
        of_form,
        posted(line, typed, picture),
        posted(line, charset_field, bolt, picture),
    ):
        body = problem(response, 415, "unsupported-charset")
        assert repr(codec) in body["detail"]


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf8"', "us-ascii"])
def test_utf8_may_be_named(line, image, charset):
    typed = form_part(b"category", b"bolt", f"Content-Type: text/plain; charset={charset}".encode())
    charset_field = form_part(b"_charset_", charset.strip('"').encode())
    content_type = f"{FORM['Content-Type']}; charset={charset}"
    assert (
        posted(line, charset_field, typed, file(image()), content_type=content_type).status_code
        == 200
    )


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "punycode"])
def test_json_is_utf8_too(line, problem, charset):
    content_type = {"Content-Type": f"application/json; charset={charset}"}
    problem(line.post("/detect", content=b"{}", headers=content_type), 415, "unsupported-charset")


def test_a_field_that_is_no_utf8_is_refused(line, image, problem):
    response = posted(line, form_part(b"category", b"\xff\xfe"), file(image()))
    assert "'category' is not UTF-8" in problem(response, 400, "malformed-body")["detail"]


NAMES = [
    (b'; filename="plain.png"', "plain.png"),
    ('; filename="Prüfling.png"'.encode(), "Prüfling.png"),
    ('; filename="Prüfling.png"'.encode("latin-1"), "Prüfling.png"),
    (b'; filename="=?utf-8?q?Pr=C3=BCfling_7.png?="', "Prüfling 7.png"),
    (b'; filename="=?UTF-8?B?UHLDvGZsaW5nLnBuZw==?="', "Prüfling.png"),
    (b'; filename="=?utf-8?q?a?= =?utf-8?q?b?="', "ab"),
    (b'; filename="=?iso-8859-1?q?Pr=FCf?=.png"', "Prüf.png"),
    (b'; filename="=?punycode?q?a-b?="', "=?punycode?q?a-b?="),
    (b'; filename="=?utf-8?b?%%%?="', "=?utf-8?b?%%%?="),
    (b"; filename*=UTF-8''Pr%C3%BCfling.png", "Prüfling.png"),
    (b"; filename=\"x.png\"; filename*=UTF-8''Pr%C3%BCfling.png", "Prüfling.png"),
    (b"; filename*=utf-8'de'%e2%82%ac.png; filename=x.png", "\N{EURO SIGN}.png"),
    (b"; filename*=iso-8859-1''Pr%FCf.png", "Prüf.png"),
    (b"; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", "../../etc/passwd"),
    (b"; filename=\"a; filename*=UTF-8''b\"", "a; filename*=UTF-8''b"),
]


@pytest.mark.parametrize(("parameters", "expected"), NAMES)
def test_names_of_files_are_decoded(line, image, parameters, expected):
    head = b'--x\r\nContent-Disposition: form-data; name="file"' + parameters + b"\r\n\r\n"
    response = posted(line, form_part(b"category", b"bolt"), head + image() + b"\r\n")
    assert filename_in(response) == expected


def test_a_name_in_a_slow_codec_is_not_decoded_by_it():
    """Its time grows with the square of the length; decoding the name wrongly does no harm."""
    assert filename_of(b"form-data; filename*=punycode''" + b"a" * 900, None) == "a" * 900


def test_a_long_name_is_refused(line, image, problem):
    response = posted(
        line, form_part(b"category", b"bolt"), file(image(), filename=b"f" * (MAX_FILENAME + 1))
    )
    assert str(MAX_FILENAME) in problem(response, 422, "invalid-request")["detail"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([form_part(b"part_id", b"a" * 5000)], "4096 bytes"),
        ([form_part(b"category", b"bolt", *[b"X-A: " + b"a" * 4000] * 3)], "headers"),
        ([form_part(b"n%d" % n, b"") for n in range(30)], "fields"),
        ([form_part(b"meta", b'{"a":"' + b"a" * 30_000 + b'"}')], "4096 bytes"),
        ([form_part(b"meta", b'{"a":"' + b"a" * 100_000 + b'"}')], "65536 bytes"),
    ],
)
def test_parts_have_bounds_that_are_named(line, image, parts, message):
    response = posted(line, *parts, file(image()))
    assert response.status_code in {400, 422}
    assert message in response.json()["detail"]


def test_meta_of_many_spaces_is_taken(line, image):
    meta = json.dumps({"a": 1}, indent=900).encode()
    parts = [form_part(b"category", b"bolt"), form_part(b"meta", meta), file(image())]
    response = posted(line, *parts)
    assert response.json()["results"][0]["meta"] == {"a": 1}


# Bodies with another content type than declared


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain", "text/json", None]
)
@pytest.mark.parametrize("content", [b'{"images": []}', b" \r\n[1]"])
def test_json_of_another_type_is_told_so(line, problem, content_type, content):
    headers = {"Content-Type": content_type} if content_type else {}
    response = line.post("/detect", content=content, headers=headers)
    detail = problem(response, 415, "unsupported-image")["detail"]
    assert "looks like JSON" in detail
    assert "application/json" in detail
    assert (content_type or "missing") in detail


def test_a_form_without_its_type_is_told_so(line, image, problem):
    response = line.post("/detect", content=file(image()) + b"--x--\r\n")
    assert "looks like a form" in problem(response, 415, "unsupported-image")["detail"]


@pytest.mark.parametrize("prefix", ["data:image/png;base64,", "data:;base64,", "DATA:image/x,"])
def test_a_data_url_is_told_so(line, image, problem, prefix):
    content = prefix + base64.b64encode(image()).decode()
    body = {"category": "bolt", "images": [{"content": content}]}
    detail = problem(line.post("/detect", json=body), 422, "undecodable-image")["detail"]
    assert prefix in detail
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [content]}
    response = line.post("/v2/models/bolt/infer", json={"inputs": [tensor]})
    assert prefix in problem(response, 400, "invalid-tensor")["detail"]


def test_a_key_with_another_content_type_is_another_request(line, image, problem):
    content, headers = image(), {"Idempotency-Key": "k", "Content-Type": "image/png"}
    assert line.detect(content, category="bolt").status_code == 200

    async def scenario(client):
        def post(**more):
            return client.post("/detect?category=bolt", content=content, headers=headers | more)

        first, again = await post(), await post()
        assert (first.status_code, again.headers["idempotency-replayed"]) == (200, "true")
        same = await post(**{"Content-Type": "IMAGE/PNG; a=b"})
        assert same.headers["idempotency-replayed"] == "true"
        return await post(**{"Content-Type": "image/jpeg"})

    body = problem(line.run(scenario), 422, "idempotency-key-reused")
    assert "Content-Type" in body["detail"]
