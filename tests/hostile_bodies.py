"""Bodies that cost more than their size suggests: fixed ones that once did, and strategies.

    for body in fixed_bodies(2_000_000):
        client.post(body.path, content=body.content, headers=body.headers)

    @given(bodies(200_000))
    def test(body): ...

Each is a request to one of the service's doors, of about the given size and without an image.
`CATEGORY` is known to the service. Nothing here needs a service.
"""

import gzip
import itertools
import json
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

CATEGORY = "bolt"
BOUNDARY = "x"
_ONE_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@dataclass(frozen=True)
class HostileBody:
    """One request. `name` describes the fault; every answer in `statuses` is right."""

    name: str
    path: str
    content: bytes = field(repr=False)
    headers: Mapping[str, str]
    statuses: frozenset[int] = frozenset({400, 413, 415, 422})
    method: str = "POST"

    def __str__(self) -> str:
        return f"{self.name} -> {self.path}"

    def gzipped(self) -> "HostileBody":
        """Return the same body, compressed to almost nothing."""
        return replace(
            self,
            name=f"{self.name}, gzipped",
            content=gzip.compress(self.content, 6, mtime=0),
            headers={**self.headers, "Content-Encoding": "gzip"},
        )


# Fillers: JSON texts of about the given number of bytes


def _repeated(piece: bytes, size: int, before: bytes = b"[", after: bytes = b"]") -> bytes:
    return before + b",".join([piece] * max(1, size // (len(piece) + 1))) + after


def _members(names: Iterable[bytes], size: int, value: bytes = b"0") -> bytes:
    members, written = [], 0
    for name in names:
        members.append(b'"%b":%b' % (name, value))
        written += len(members[-1]) + 1
        if written >= size:
            break
    return b"{" + b",".join(members) + b"}"


def _numbered() -> Iterable[bytes]:
    return (b"a%d" % number for number in itertools.count())


FILLERS: dict[str, Callable[[int], bytes]] = {
    "zeros": lambda size: _repeated(b"0", size),
    "floats": lambda size: _repeated(b"0.12345678901234567", size),
    "nulls": lambda size: _repeated(b"null", size),
    "NaN": lambda size: _repeated(b"NaN", size),
    "infinite numbers": lambda size: _repeated(b"1e999", size),
    "numbers of 250 digits": lambda size: _repeated(b"1" * 250, size),
    "numbers of 4300 digits": lambda size: _repeated(b"7" * 4300, size),
    "a number of 5000 digits": lambda size: b"9" * 5000,
    "a number": lambda size: b"9" * size,
    "empty arrays": lambda size: _repeated(b"[]", size),
    "empty objects": lambda size: _repeated(b"{}", size),
    "small objects": lambda size: _repeated(b'{"a":0}', size),
    "small texts": lambda size: _repeated(b'"a"', size),
    "images without content": lambda size: _repeated(b'{"filename":"a"}', size),
    "images of nothing": lambda size: _repeated(b'{"content":""}', size),
    "arrays 100 deep": lambda size: _repeated(b"[" * 100 + b"]" * 100, size),
    "arrays without an end": lambda size: b"[" * size,
    "objects without an end": lambda size: b'{"a":' * (size // 5),
    "deep objects": lambda size: b'{"a":' * (size // 6) + b"0" + b"}" * (size // 6),
    "members": lambda size: _members(_numbered(), size),
    "a member again and again": lambda size: _members(itertools.repeat(b"images"), size, b"[0]"),
    "content again and again": lambda size: _members(itertools.repeat(b"content"), size, b'"AAAA"'),
    "a long text": lambda size: b'"' + b"A" * size + b'"',
    "a text of escapes": lambda size: b'"' + b"\\u0041" * (size // 6) + b'"',
    "a text of quotes": lambda size: b'"' + b'\\"' * (size // 2) + b'"',
    "a text of slashes": lambda size: b'"' + b"\\/" * (size // 2) + b'"',
    "a text of backslashes": lambda size: b'"' + b"\\\\" * (size // 2) + b'"',
    "a text of other letters": lambda size: b'"' + "é".encode() * (size // 2) + b'"',
    "a text that is no UTF-8": lambda size: b'"' + b"\xff" * size + b'"',
    "a text without an end": lambda size: b'"' + b"A" * size,
    "half a surrogate": lambda size: b'"' + b"\\ud800" * (size // 6) + b'"',
    "spaces": lambda size: b" " * size + b"0",
    "commas": lambda size: b"," * size,
    "colons": lambda size: b":" * size,
    "quotes": lambda size: b'"' * size,
}
"""JSON values, and invalid ones, by what they have too much of."""


# Places for fillers

_IMAGE = b'{"content":"%b"}' % _ONE_PIXEL.encode()
_JSON_TYPE = {"Content-Type": "application/json"}
_BYTES = b'"name":"image","datatype":"BYTES","shape":[1]'

DETECT_PLACES: dict[str, bytes] = {
    "the body": b"%b",
    "images": b'{"category":"bolt","images":%b}',
    "an image": b'{"category":"bolt","images":[%b]}',
    "content": b'{"category":"bolt","images":[{"content":%b}]}',
    "filename": b'{"category":"bolt","images":[{"content":"AAAA","filename":%b}]}',
    "category": b'{"category":%b,"images":[' + _IMAGE + b"]}",
    "part_id": b'{"category":"bolt","part_id":%b,"images":[' + _IMAGE + b"]}",
    "heatmap": b'{"category":"bolt","heatmap":%b,"images":[' + _IMAGE + b"]}",
    "meta": b'{"category":"bolt","meta":%b,"images":[' + _IMAGE + b"]}",
    "within meta": b'{"category":"bolt","meta":{"a":%b},"images":[' + _IMAGE + b"]}",
    "a member of its own": b'{"category":"bolt","images":[' + _IMAGE + b'],"more":%b}',
}
"""Bodies of /detect and /detect/batch, with a place for a filler."""

INFER_PLACES: dict[str, bytes] = {
    "the body": b"%b",
    "inputs": b'{"inputs":%b}',
    "an input": b'{"inputs":[%b]}',
    "name": b'{"inputs":[{"name":%b,"datatype":"BYTES","shape":[1],"data":["AAAA"]}]}',
    "datatype": b'{"inputs":[{"name":"image","datatype":%b,"shape":[1],"data":["AAAA"]}]}',
    "shape": b'{"inputs":[{"name":"image","datatype":"BYTES","shape":%b,"data":["AAAA"]}]}',
    "data": b'{"inputs":[{' + _BYTES + b',"data":%b}]}',
    "within data": b'{"inputs":[{' + _BYTES + b',"data":[%b]}]}',
    "pixels": b'{"inputs":[{"name":"image","datatype":"FP32","shape":[1,1,1,3],"data":%b}]}',
    "parameters": b'{"parameters":%b,"inputs":[{' + _BYTES + b',"data":["AAAA"]}]}',
    "a parameter": b'{"parameters":{"a":%b},"inputs":[{' + _BYTES + b',"data":["AAAA"]}]}',
    "meta": b'{"parameters":{"meta":{"a":%b}},"inputs":[{' + _BYTES + b',"data":["AAAA"]}]}',
    "parameters of an input": b'{"inputs":[{' + _BYTES + b',"parameters":%b,"data":["AAAA"]}]}',
    "outputs": b'{"outputs":%b,"inputs":[{' + _BYTES + b',"data":["AAAA"]}]}',
    "an output": b'{"outputs":[%b],"inputs":[{' + _BYTES + b',"data":["AAAA"]}]}',
    "id": b'{"id":%b,"inputs":[{' + _BYTES + b',"data":["AAAA"]}]}',
    "a member of its own": b'{"more":%b,"inputs":[{' + _BYTES + b',"data":["AAAA"]}]}',
}
"""Bodies of /v2/models/bolt/infer, with a place for a filler."""

ADMIN_PLACES: dict[str, bytes] = {
    "the body": b"%b",
    "threshold": b'{"threshold":%b,"who":"a","reason":"b"}',
    "who": b'{"threshold":1,"who":%b,"reason":"b"}',
    "stable": b'{"stable":%b}',
    "a member of its own": b'{"threshold":1,"who":"a","reason":"b","more":%b}',
}
"""Bodies of the routes for operators, with a place for a filler."""

_DOORS: dict[str, tuple[str, dict[str, bytes]]] = {
    "/detect": ("POST", DETECT_PLACES),
    "/detect/batch": ("POST", DETECT_PLACES),
    f"/v2/models/{CATEGORY}/infer": ("POST", INFER_PLACES),
    "/v2/repository/index": ("POST", {"the body": b"%b", "ready": b'{"ready":%b}'}),
    f"/categories/{CATEGORY}/threshold": ("PUT", ADMIN_PLACES),
    f"/categories/{CATEGORY}/route": ("POST", ADMIN_PLACES),
}
# Odd values in some places are valid: an unknown member of v2, a result for each image.
_ANY = frozenset({200, 400, 404, 413, 415, 422})


def json_body(path: str, place: str, filler: str, size: int) -> HostileBody:
    method, places = _DOORS[path]
    content = places[place].replace(b"%b", FILLERS[filler](size))
    return HostileBody(f"{filler} in {place}", path, content, _JSON_TYPE, _ANY, method)


def json_bodies(size: int) -> st.SearchStrategy[HostileBody]:
    """JSON for any door, with too much of something at any place."""

    def at(path: str) -> st.SearchStrategy[HostileBody]:
        return st.builds(
            json_body,
            st.just(path),
            st.sampled_from(sorted(_DOORS[path][1])),
            st.sampled_from(sorted(FILLERS)),
            st.integers(1, size),
        )

    return st.sampled_from(sorted(_DOORS)).flatmap(at)


# Forms


def form_part(name: bytes, value: bytes, *headers: bytes, filename: bytes | None = None) -> bytes:
    """`headers` are complete lines."""
    disposition = b'Content-Disposition: form-data; name="' + name + b'"'
    if filename is not None:
        disposition += b'; filename="' + filename + b'"'
    lines = b"\r\n".join([disposition, *headers])
    return b"--" + BOUNDARY.encode() + b"\r\n" + lines + b"\r\n\r\n" + value + b"\r\n"


def form(
    name: str, path: str, *parts: bytes, parameters: str = "", statuses: frozenset[int] = _ANY
) -> HostileBody:
    """`parameters` extend the Content-Type."""
    content = b"".join(parts) + b"--" + BOUNDARY.encode() + b"--\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}{parameters}"}
    return HostileBody(name, path, content, headers, statuses)


CODECS = [
    "punycode", "idna", "utf-7", "utf-16", "utf-32", "unicode_escape", "raw_unicode_escape",
    "rot13", "zlib", "bz2", "hex", "base64", "quopri", "uu", "undefined", "mbcs", "latin-1",
    "shift_jis", "iso2022_jp_2", "hz", "gb18030", "cp037", "no-such", "utf-8\x00", "",
]  # fmt: skip

_FILE = form_part(b"file", b"no image", filename=b"a.png")
FORMS: dict[str, Callable[[int], list[bytes]]] = {
    "many files": lambda size: [form_part(b"file", b"1", filename=b"a")] * (size // 70),
    "files of 64 kB": lambda size: [
        form_part(b"file", bytes(2**16), filename=b"a") * max(1, size // 2**16)
    ],
    "many fields": lambda size: [form_part(b"part_id", b"1")] * (size // 60),
    "many names": lambda size: [form_part(b"n%d" % i, b"1") for i in range(size // 60)],
    "a long field": lambda size: [form_part(b"part_id", b"a" * size), _FILE],
    "a long category": lambda size: [form_part(b"category", b"a" * size), _FILE],
    "a long name": lambda size: [form_part(b"n" * size, b"1"), _FILE],
    "a long filename": lambda size: [form_part(b"file", b"1", filename=b"f" * size)],
    "many headers": lambda size: [form_part(b"file", b"1", *[b"X-A: 1"] * (size // 8))],
    "a long header": lambda size: [form_part(b"file", b"1", b"X-A: " + b"a" * size)],
    "many parameters": lambda size: [form_part(b"file", b"1", filename=b'a"' + b";a=b" * size)],
    "nearly boundaries": lambda size: [form_part(b"file", b"\r\n--" * (size // 4), filename=b"a")],
    "carriage returns": lambda size: [form_part(b"file", b"\r" * size, filename=b"a")],
    "line feeds": lambda size: [form_part(b"file", b"\r\n" * (size // 2), filename=b"a")],
    "a preamble": lambda size: [b"\r\n" * (size // 2), _FILE],
    "no end": lambda size: [b"--x\r\nContent-Disposition: form-data; name=" + b"a" * size],
    "encoded words": lambda size: [
        form_part(b"file", b"1", filename=b"=?utf-8?q?a?= " * (size // 14))
    ],
    "a word in punycode": lambda size: [
        form_part(b"file", b"1", filename=b"=?punycode?q?" + b"a-b" * (min(size, 4000) // 3))
    ],
}
"""Parts of a form, by what they have too much of."""


def form_body(path: str, kind: str, size: int) -> HostileBody:
    return form(kind, path, *FORMS[kind](size))


def form_with_json(path: str, name: str, filler: str, size: int) -> HostileBody:
    kind = f"{filler} in the field {name}"
    parts = [form_part(name.encode(), FILLERS[filler](size)), _FILE]
    return form(kind, path, form_part(b"category", CATEGORY.encode()), *parts)


def form_in_codec(path: str, codec: str, size: int, *, of_part: bool = False) -> HostileBody:
    """The form's type, or that of a part, declares the codec."""
    named = [b"Content-Type: text/plain; charset=" + codec.encode()] if of_part else []
    content = b"a" * max(1, size)  # the most expensive text in punycode
    parts = [form_part(b"part_id", content, *named), _FILE]
    parameters = "" if of_part else f"; charset={codec}"
    return form(f"charset {codec!r}", path, *parts, parameters=parameters)


def form_bodies(size: int) -> st.SearchStrategy[HostileBody]:
    paths = st.sampled_from(["/detect", "/detect/batch"])
    sizes = st.integers(1, size)
    codecs = st.sampled_from([codec for codec in CODECS if "\x00" not in codec])
    return st.one_of(
        st.builds(form_body, paths, st.sampled_from(sorted(FORMS)), sizes),
        st.builds(
            form_with_json,
            paths,
            st.sampled_from(["meta", "images"]),
            st.sampled_from(sorted(FILLERS)),
            sizes,
        ),
        st.builds(form_in_codec, paths, codecs, sizes, of_part=st.booleans()),
    )


# Tensors after the JSON


def tensor_body(
    kind: str, inputs: list[dict[str, object]], tail: bytes, **members: object
) -> HostileBody:
    """Return an infer request with tensors as bytes after the JSON."""
    head = json.dumps({**members, "inputs": inputs}).encode()
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return HostileBody(kind, f"/v2/models/{CATEGORY}/infer", head + tail, headers, _ANY)


def tensor(
    datatype: str, shape: list[int], size: int | None = None, **more: object
) -> dict[str, object]:
    """Describe a tensor of `size` bytes."""
    parameters = {} if size is None else {"binary_data_size": size}
    described = {"name": "image", "datatype": datatype, "shape": shape, "parameters": parameters}
    return {**described, **more}


def empty_elements(count: int) -> HostileBody:
    described = tensor("BYTES", [count], 4 * count)
    return tensor_body(f"{count} empty elements", [described], bytes(4 * count))


def small_elements(count: int, shape: list[int] | None = None) -> HostileBody:
    tail = (struct.pack("<I", 1) + b"a") * count
    described = tensor("BYTES", shape or [count], len(tail))
    return tensor_body(f"{count} elements of a byte", [described], tail)


def pixels(datatype: str, shape: list[int], value: bytes, size: int) -> HostileBody:
    """Return a tensor of pixels whose shape need not match its bytes."""
    tail = (value * (size // len(value) + 1))[:size]
    return tensor_body(f"{datatype} {shape}", [tensor(datatype, shape, size)], tail)


def many_tensors(count: int, members: str) -> HostileBody:
    described = tensor("BYTES", [1], None, data=["AAAA"])
    if members == "inputs":
        return tensor_body("many inputs", [described] * count, b"")
    outputs = [{"name": f"o{number}"} for number in range(count)]
    return tensor_body("many outputs", [described], b"", outputs=outputs)


_SHAPES = st.lists(
    st.sampled_from([0, 1, 1, 2, 3, 64, 65, 1000, 10**6, 2**31, 2**32, 2**63 - 1, 2**64, -1]),
    max_size=40,
)


def tensor_bodies(size: int) -> st.SearchStrategy[HostileBody]:
    """Tensors with many elements, odd shapes, or too many of them."""
    return st.one_of(
        st.builds(empty_elements, st.integers(1, size // 4)),
        st.builds(small_elements, st.integers(1, size // 5), st.none() | _SHAPES),
        st.builds(
            pixels,
            st.sampled_from(["UINT8", "FP32", "FP64", "BYTES", "INT64", ""]),
            _SHAPES,
            st.sampled_from([b"\x00", b"\x01", b"\xff", b"\x00\x00\xc0\x7f", b"\x01\x00\x00\x00"]),
            st.integers(0, size),
        ),
        st.builds(many_tensors, st.integers(1, size // 60 + 1), st.sampled_from(["inputs", "o"])),
    )


def bodies(size: int) -> st.SearchStrategy[HostileBody]:
    plain = st.one_of(json_bodies(size), form_bodies(size), tensor_bodies(size))
    return st.builds(lambda body, zipped: body.gzipped() if zipped else body, plain, st.booleans())


def fixed_bodies(size: int = 3_000_000) -> list[HostileBody]:
    """Return bodies that once cost seconds or gigabytes, and similar ones."""
    zeros = json_body("/detect", "images", "zeros", size)
    infer = f"/v2/models/{CATEGORY}/infer"
    return [
        zeros,
        zeros.gzipped(),
        json_body("/detect/batch", "images", "zeros", size),
        json_body("/detect/batch", "images", "zeros", size).gzipped(),
        json_body("/detect/batch", "images", "images without content", size),
        json_body("/detect/batch", "an image", "members", size),
        json_body("/detect", "a member of its own", "arrays 100 deep", size),
        json_body("/detect", "the body", "members", size),
        json_body("/detect", "the body", "a member again and again", size),
        json_body("/detect", "meta", "members", size),
        json_body("/detect", "within meta", "zeros", size),
        json_body("/detect", "within meta", "numbers of 4300 digits", size),
        json_body("/detect", "category", "a text of escapes", size),
        json_body("/detect/batch", "category", "a long text", size),
        form_with_json("/detect/batch", "images", "zeros", size),
        form_with_json("/detect/batch", "images", "images without content", size),
        form_with_json("/detect", "meta", "zeros", size),
        form_with_json("/detect/batch", "meta", "members", size),
        form_in_codec("/detect", "punycode", min(size, 200_000)),
        form_in_codec("/detect/batch", "punycode", min(size, 200_000), of_part=True),
        form_body("/detect", "files of 64 kB", size),
        form_body("/detect", "nearly boundaries", size),
        form_body("/detect", "carriage returns", size),
        form_body("/detect/batch", "many files", size),
        empty_elements(size // 4),
        small_elements(size // 5),
        pixels("UINT8", [size // 3, 1, 1, 3], b"\x00", size // 3 * 3),
        pixels("FP32", [1] * 32, b"\x00", 4),
        many_tensors(size // 100, "inputs"),
        many_tensors(size // 100, "outputs"),
        json_body(infer, "data", "small texts", size),
        json_body(infer, "data", "arrays 100 deep", size),
        json_body(infer, "pixels", "numbers of 4300 digits", size),
        json_body(infer, "pixels", "empty arrays", size),
        json_body(infer, "parameters", "members", size),
        json_body(infer, "a member of its own", "members", size),
        json_body(f"/categories/{CATEGORY}/threshold", "the body", "members", size),
        json_body(f"/categories/{CATEGORY}/route", "stable", "zeros", size),
    ]
