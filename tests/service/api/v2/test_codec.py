"""The wire format: written tensors can be read, and invalid ones are refused."""

import base64
import json
import random
import struct
import tracemalloc

import numpy as np
import pytest

from service.api.v2.codec import (
    MAX_JSON_VALUES,
    Output,
    TensorLimits,
    read_request,
    write_answer,
)
from service.api.v2.schemas import InferAnswer
from service.api.v2.tensors import choose_outputs, read_images
from service.errors import BodyTooLarge, InvalidTensor, MalformedBody, ServiceError


def tensor(datatype="UINT8", shape=(2, 3), name="image", **more):
    return {"name": name, "datatype": datatype, "shape": list(shape), **more}


def binary(content, datatype="UINT8", shape=(2, 3), **more):
    return tensor(datatype, shape, parameters={"binary_data_size": len(content)}, **more)


def body(*inputs, tail=b"", **more):
    head = json.dumps({"inputs": list(inputs), **more}).encode()
    return head + tail, (str(len(head)) if tail else None)


def elements(*contents):
    return b"".join(struct.pack("<I", len(content)) + content for content in contents)


def read(*inputs, tail=b"", **more):
    return read_request(*body(*inputs, tail=tail, **more))


def test_numbers_come_nested_flat_or_binary():
    values = [[1, 2, 3], [4, 5, 255]]
    flat = [1, 2, 3, 4, 5, 255]
    for given in (tensor(data=values), tensor(data=flat)):
        _, (parsed_tensor,) = read(given)
        assert (parsed_tensor.shape, parsed_tensor.values.tolist(), parsed_tensor.values.dtype) == (
            (2, 3),
            flat,
            np.uint8,
        )
    content = bytes(flat)
    _, (parsed_tensor,) = read(binary(content), tail=content)
    assert parsed_tensor.values.tolist() == flat
    floats = struct.pack("<2f", 0.25, -1.5)
    _, (parsed_tensor,) = read(binary(floats, "FP32", [2]), tail=floats)
    assert parsed_tensor.values.tolist() == [0.25, -1.5]
    _, (parsed_tensor,) = read(tensor("FP32", [2], data=[0.25, 3]))
    assert parsed_tensor.values.tolist() == [0.25, 3.0]


def test_bytes_come_as_base64_or_binary():
    contents = (b"\x89PNG\0", b"")
    texts = [base64.b64encode(content).decode() for content in contents]
    for shape, data in (([2], texts), ([2, 1], [[text] for text in texts]), ([2, 1], texts)):
        _, (parsed_tensor,) = read(tensor("BYTES", shape, data=data))
        assert (parsed_tensor.shape, parsed_tensor.values) == (tuple(shape), contents)
    tail = elements(*contents)
    _, (parsed_tensor,) = read(binary(tail, "BYTES", [2]), tail=tail)
    assert parsed_tensor.values == contents


def test_binary_tensors_lie_in_the_order_of_the_inputs():
    first, second = bytes([1, 2]), elements(b"abc")
    _, tensors = read(
        binary(first, "UINT8", [2], name="a"),
        tensor("UINT8", [1], name="b", data=[7]),
        binary(second, "BYTES", [1], name="c"),
        tail=first + second,
    )
    assert [part.name for part in tensors] == ["a", "b", "c"]
    assert tensors[0].values.tolist() == [1, 2]
    assert tensors[2].values == (b"abc",)


def test_an_id_and_parameters_are_read():
    parsed, _ = read(tensor(data=[1] * 6), id="42", parameters={"x": 1}, model_name="left alone")
    assert (parsed.id, parsed.parameters) == ("42", {"x": 1})


@pytest.mark.parametrize(
    "shape",
    [[-1], [0], [-2, -3], [2, 0], [], [2**63], [2**64, 2**64], [10**30], [2**31, 2**33], [1] * 33],
)
def test_impossible_shapes_are_refused(shape):
    for datatype in ("UINT8", "FP32", "BYTES"):
        with pytest.raises((InvalidTensor, MalformedBody)):
            read(tensor(datatype, shape, data=[1, 2, 3, 4, 5, 6]))
        with pytest.raises((InvalidTensor, MalformedBody)):
            read(binary(bytes(6), datatype, shape), tail=bytes(6))


@pytest.mark.parametrize(
    "given",
    [
        tensor(data=[1, 2, 3]),
        tensor(data=[[1, 2], [3, 4], [5, 6]]),
        tensor(data=[[1, 2, 3], [4, 5]]),
        tensor(data=[1, 2, 3, 4, 5, 256]),
        tensor(data=[1, 2, 3, 4, 5, -1]),
        tensor(data=[1, 2, 3, 4, 5, 0.5]),
        tensor(data=[1, 2, 3, 4, 5, 10**30]),
        tensor("FP32", data=[1, 2, 3, 4, 5, 10**400]),
        tensor("FP32", data=[1, 2, 3, 4, 5, "6"]),
        tensor("FP32", data=[1, 2, 3, 4, 5, {}]),
        tensor(data=[[[[1, 2, 3], [4, 5, 6]]]]),
        tensor(data=[1, 2, 3, 4, 5, None]),
        tensor(data=["1", "2", "3", "4", "5", "6"]),
        tensor(data=[True] * 6),
        tensor(data="123456"),
        tensor(data={"0": 1}),
        tensor("FP32", data=["x"] * 6),
        tensor("BYTES", [1], data=["not base64!"]),
        tensor("BYTES", [1], data=["ä"]),
        tensor("BYTES", [1], data=[5]),
        tensor("BYTES", [2], data=["YQ=="]),
        tensor("INT64", data=[1] * 6),
        tensor("BOOL" * 100, data=[1] * 6),
        tensor(),
        tensor(data=[1] * 6, parameters={"binary_data_size": 6}),
        tensor(parameters={"binary_data_size": -6}),
        tensor(parameters={"binary_data_size": "6"}),
        tensor(parameters={"binary_data_size": True}),
        tensor(parameters={"binary_data_size": 6.0}),
        tensor(parameters={"shared_memory_region": "r", "shared_memory_byte_size": 6}),
    ],
)
def test_data_that_does_not_fit_is_refused(given):
    with pytest.raises((InvalidTensor, MalformedBody)) as refusal:
        read(given)
    assert len(str(refusal.value)) < 600


def test_a_number_too_large_is_infinite_and_for_the_tensors_meaning_to_refuse():
    _, (parsed_tensor,) = read(tensor("FP32", [2], data=[1e300, 0]))
    assert np.isinf(parsed_tensor.values[0])


def test_text_for_numbers_takes_no_room():
    """A text array would have 400 kB in each of 10,000 places."""
    data = ["x" * 100_000, *[""] * 10_000]
    tracemalloc.start()
    try:
        with pytest.raises(InvalidTensor):
            read(tensor("FP32", [10_001], data=data))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize(
    "value", ["1e999", "-1e999", "9" * 4000, "9" * 5000, '{"a": 1}', "[1]", "null", '"\\ud800"']
)
def test_a_parameter_that_cannot_be_said_back_is_refused(value):
    content = b'{"inputs": [], "parameters": {"x": %b}}' % value.encode()
    with pytest.raises(MalformedBody):
        read_request(content, None)


def test_parameters_are_strings_numbers_booleans_and_the_parts_own_object():
    parameters = {"a": "b", "c": 1, "d": 0.5, "e": True, "meta": {"lot": [1, {"x": None}]}}
    parsed, _ = read(tensor(data=[1] * 6), parameters=parameters)
    assert parsed.parameters == parameters


@pytest.mark.parametrize(
    ("given", "tail"),
    [
        (binary(bytes(6)), bytes(5)),
        (binary(bytes(6)), bytes(7)),
        (binary(bytes(5)), bytes(5)),
        (tensor(parameters={"binary_data_size": 10**30}), bytes(6)),
        (binary(bytes(6), "FP32"), bytes(6)),
        (tensor(data=[1] * 6), b"more"),
        (binary(elements(b"ab"), "BYTES", [2]), elements(b"ab")),
        (binary(elements(b"a", b"b"), "BYTES", [1]), elements(b"a", b"b")),
        (binary(struct.pack("<I", 2**32 - 1), "BYTES", [1]), struct.pack("<I", 2**32 - 1)),
        (binary(b"\1\0", "BYTES", [1]), b"\1\0"),
        (binary(elements(b"a"), "BYTES", [2**40]), elements(b"a")),
    ],
)
def test_bytes_that_do_not_fit_are_refused(given, tail):
    with pytest.raises((InvalidTensor, MalformedBody)):
        read(given, tail=tail)


@pytest.mark.parametrize("length", ["-1", "x", "", "1e3", "99999", "9" * 30, "٣"])
def test_an_impossible_header_length_is_refused(length):
    content, _ = body(tensor(data=[1] * 6))
    with pytest.raises(MalformedBody, match="Inference-Header-Content-Length"):
        read_request(content, length)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"inputs": {}}',
        b'{"inputs": [{"name": "image"}]}',
        b'{"inputs": [], "id": 5}',
        b'{"inputs": [{"name": "a", "datatype": "UINT8", "shape": ["2"], "data": [1, 2]}]}',
        b'{"inputs": [{"name": "a", "datatype": "UINT8", "shape": [2.0], "data": [1, 2]}]}',
        b'{"inputs": [{"name": "a", "datatype": "UINT8", "shape": [true], "data": [1]}]}',
        b'{"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "data": [NaN]}]}',
        b'{"inputs": ' + b"[" * 100_000,
        b'{"inputs": [' + b'{"a":' * 10_000,
    ],
)
def test_what_is_no_request_is_refused(content):
    with pytest.raises(MalformedBody) as refusal:
        read_request(content, None)
    assert len(str(refusal.value)) < 1000


def test_more_values_than_can_be_read_at_once_are_refused():
    with pytest.raises(BodyTooLarge, match="binary"):
        read_request(b'{"inputs": [' + b"1," * (MAX_JSON_VALUES + 1), None)


def test_more_elements_than_images_are_refused_unread(monkeypatch):
    """Only their number is checked, as bytes and in JSON."""
    for reader in ("_byte_elements", "_from_base64"):
        monkeypatch.setattr(f"service.api.v2.codec.{reader}", None)
    count = 5_000_000
    body_and_length = body(binary(bytes(4 * count), "BYTES", [count]), tail=bytes(4 * count))
    with pytest.raises(BodyTooLarge, match="64 images, got 5000000"):
        read_request(*body_and_length, TensorLimits(64, 1000))
    with pytest.raises(InvalidTensor, match="too few"):
        read(binary(bytes(4 * count), "BYTES", [count + 1]), tail=bytes(4 * count))
    with pytest.raises(BodyTooLarge, match="64 images, got 65"):
        read_request(*body(tensor("BYTES", [65], data=[""] * 65)), TensorLimits(64, 1000))


@pytest.mark.parametrize(
    "more",
    [
        {"parameters": {f"p{n}": [] for n in range(5000)}},
        {"outputs": [0] * 5000},
        {"outputs": [{"name": "x" * 2000}]},
        {"parameters": {"x" * 3000: []}},
    ],
)
def test_refusals_are_short(more):
    with pytest.raises(MalformedBody) as refusal:
        read(tensor(data=[1] * 6), **more)
    assert len(str(refusal.value)) < 1000


def test_long_base64_is_read_from_the_body():
    content = bytes(range(256)) * 100
    text = base64.b64encode(content).decode()
    _, (parsed_tensor,) = read(tensor("BYTES", [2], data=[text, "AAAA"]))
    assert parsed_tensor.values == (content, bytes(3))
    with pytest.raises(BodyTooLarge, match="string"):
        read(tensor("BYTES", [1], data=[text]), parameters={"part_id": text})
    with pytest.raises(BodyTooLarge, match="1000 bytes, got 25602"):
        read_request(*body(tensor("BYTES", [1], data=[text])), TensorLimits(64, 1000))


def test_an_answer_is_written_as_json():
    outputs = [
        Output("score", "FP32", np.array([0.5, 0.25], np.float32), binary=False),
        Output("decision", "BYTES", ["NG", "OK"], binary=False),
        Output("map", "FP32", np.ones((2, 1, 2), np.float32), binary=False),
    ]
    answer = InferAnswer(model_name="m", model_version="1", id="7", parameters={"a": 1}, outputs=[])
    content, header_length = write_answer(answer, outputs)
    assert header_length is None
    assert json.loads(content) == {
        "model_name": "m",
        "model_version": "1",
        "id": "7",
        "parameters": {"a": 1},
        "outputs": [
            {"name": "score", "datatype": "FP32", "shape": [2], "data": [0.5, 0.25]},
            {"name": "decision", "datatype": "BYTES", "shape": [2], "data": ["NG", "OK"]},
            {"name": "map", "datatype": "FP32", "shape": [2, 1, 2], "data": [1.0] * 4},
        ],
    }


def test_an_answer_is_written_as_bytes_behind_json():
    outputs = [
        Output("score", "FP32", np.array([0.5], np.float32), binary=True),
        Output("raw_score", "FP64", np.array([0.1]), binary=False),
        Output("decision", "BYTES", ["NG"], binary=True),
    ]
    answer = InferAnswer(model_name="m", model_version="1", outputs=[])
    content, header_length = write_answer(answer, outputs)
    assert header_length is not None
    head = json.loads(content[:header_length])
    assert "id" not in head
    assert [output.get("parameters") for output in head["outputs"]] == [
        {"binary_data_size": 4},
        None,
        {"binary_data_size": 6},
    ]
    assert head["outputs"][1]["data"] == [0.1]
    assert content[header_length:] == struct.pack("<f", 0.5) + elements(b"NG")


def test_what_is_not_a_number_is_never_written():
    answer = InferAnswer(model_name="m", model_version="1", outputs=[])
    with pytest.raises(ValueError, match="JSON"):
        write_answer(answer, [Output("score", "FP32", np.array([np.nan]), binary=False)])


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_is_read_or_refused(seed):
    """Change, cut or double bytes of a valid request, or replace them by JSON tokens."""
    rng = random.Random(seed)
    tail = elements(b"abc", b"d")
    head, length = body(
        binary(tail, "BYTES", [2]),
        tensor("FP32", [2, 1], data=[[0.5], [1]]),
        tail=tail,
        id="7",
        parameters={"timeout": 5, "layout": "NCHW", "meta": {"a": [1]}},
        outputs=[{"name": "score", "parameters": {"binary_data": True}}],
    )
    tokens = (b"null", b"-1", b"1e999", b"[[", b"{}", b'"', b"true", b"9" * 30, b"\x00", b"\xff")
    for _ in range(500):
        content = bytearray(head)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(content))
            end = min(len(content), at + rng.choice((0, 1, 1, 8)))
            content[at:end] = rng.choice((rng.choice(tokens), rng.randbytes(1), b"", content[:at]))
        given = rng.choice((length, str(rng.randint(0, 2 * len(head))), None))
        try:
            parsed, tensors = read_request(bytes(content), given)
            choose_outputs(parsed.outputs, parsed.parameters)
            read_images(tensors, parsed.parameters, max_images=4)
        except ServiceError as error:
            assert len(str(error)) < 2000
