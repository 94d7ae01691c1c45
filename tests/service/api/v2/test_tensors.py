"""The meaning of tensors: images in, columns out."""

import numpy as np
import pytest

from model.inspection import Decision, ImageSize
from service.api.v2.codec import Tensor
from service.api.v2.schemas import OutputAsked
from service.api.v2.tensors import (
    choose_outputs,
    input_metadata,
    output_metadata,
    read_images,
    write_outputs,
)
from service.errors import BodyTooLarge, InvalidTensor
from service.inspection.images.sources import Upload
from service.workers.pipe.messages import Finding

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)


def tensor(values, datatype, shape=None, name="image", **parameters):
    shape = np.shape(values) if shape is None else tuple(shape)
    flat = values if datatype == "BYTES" else np.asarray(values).ravel()
    return Tensor(name, datatype, shape, parameters, flat)


def images(*tensors, parameters=None, max_images=4):
    return read_images(tensors, parameters or {}, max_images)


def arrays(*tensors, parameters=None):
    return np.stack([np.asarray(image) for image in images(*tensors, parameters=parameters)])


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_files_are_uploads(shape):
    uploads = images(tensor((b"a", b"b"), "BYTES", shape))
    assert uploads == [Upload(None, b"a"), Upload(None, b"b")]


def test_pixels_are_images():
    decoded = images(tensor(PIXELS, "UINT8"))
    assert [(image.mode, image.size) for image in decoded] == [("RGB", (5, 4))] * 2
    assert (arrays(tensor(PIXELS, "UINT8")) == PIXELS).all()


def test_fp32_pixels_are_the_same_images():
    values = PIXELS.astype(np.float32) / 255
    assert (arrays(tensor(values, "FP32")) == PIXELS).all()


@pytest.mark.parametrize("where", ["input", "request"])
def test_channels_come_first_where_that_is_said(where):
    values = np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2))
    if where == "input":
        pixels = arrays(tensor(values, "UINT8", layout="NCHW"))
    else:
        pixels = arrays(tensor(values, "UINT8"), parameters={"layout": "NCHW"})
    assert (pixels == PIXELS).all()
    with pytest.raises(InvalidTensor, match=r"\[n, H, W, 3\]"):
        images(tensor(values, "UINT8"))


def test_the_inputs_layout_goes_before_the_requests():
    given = tensor(PIXELS, "UINT8", layout="NHWC")
    assert (arrays(given, parameters={"layout": "NCHW"}) == PIXELS).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -0.01, 1.01, 255.0])
def test_fp32_outside_of_0_to_1_is_refused(wrong):
    values = np.full((1, 4, 5, 3), 0.5, np.float32)
    values[0, 1, 2, 1] = wrong
    with pytest.raises(InvalidTensor, match="0 to 1"):
        images(tensor(values, "FP32"))


@pytest.mark.parametrize(
    "given",
    [
        tensor((b"a", b"b"), "BYTES", [1, 2]),
        tensor((b"a",), "BYTES", [1, 1, 1]),
        tensor(PIXELS[0], "UINT8"),
        tensor(PIXELS[..., :1], "UINT8"),
        tensor(PIXELS, "UINT8", layout="NCHW"),
        tensor(PIXELS, "UINT8", layout="CHWN"),
        tensor(PIXELS, "UINT8", layout=3),
        tensor(PIXELS, "UINT8", layout=["NCHW"]),
        tensor(PIXELS.astype(np.float64), "FP64"),
        tensor(PIXELS, "UINT8", name="images"),
    ],
)
def test_other_tensors_are_refused(given):
    with pytest.raises(InvalidTensor):
        images(given)


def test_one_input_is_expected():
    given = tensor(PIXELS, "UINT8")
    for tensors in ((), (given, given)):
        with pytest.raises(InvalidTensor, match="one input, 'image'"):
            images(*tensors)


def test_more_images_than_allowed_are_refused():
    with pytest.raises(BodyTooLarge, match="1 images"):
        images(tensor(PIXELS, "UINT8"), max_images=1)


def test_the_map_is_an_output_only_if_asked_for():
    chosen = choose_outputs(None, {"binary_data_output": True})
    assert [choice.name for choice in chosen] == ["score", "raw_score", "threshold", "decision"]
    assert all(choice.binary for choice in chosen)
    requested = [
        OutputAsked(name="anomaly_map"),
        OutputAsked(name="score", parameters={"binary_data": False}),
    ]
    for default in (True, False):
        (first, second) = choose_outputs(requested, {"binary_data_output": default})
        assert (first.name, first.binary) == ("anomaly_map", default)
        assert (second.name, second.binary) == ("score", False)


@pytest.mark.parametrize(
    "requested",
    [
        [OutputAsked(name="scores")],
        [OutputAsked(name="score"), OutputAsked(name="score")],
        [OutputAsked(name="score", parameters={"classification": 2})],
        [OutputAsked(name="score", parameters={"shared_memory_region": "r"})],
        [OutputAsked(name="score", parameters={"binary_data": "yes"})],
    ],
)
def test_other_outputs_are_refused(requested):
    with pytest.raises(InvalidTensor):
        choose_outputs(requested, {})


def test_outputs_are_columns_over_the_images():
    values = ((Decision.NG, 0.75, 0.0), (Decision.REVIEW, 0.25, 1.0))
    findings = [
        Finding(decision, score, 0.1 + score, 0.3, (), {}, np.full((2, 3), pixel, np.float32))
        for decision, score, pixel in values
    ]
    requested = [OutputAsked(name=metadata.name) for metadata in output_metadata(ImageSize(2, 3))]
    outputs = write_outputs(choose_outputs(requested, {}), findings, ImageSize(2, 3))
    by_name = {output.name: output for output in outputs}
    assert list(by_name["decision"].values) == ["NG", "REVIEW"]
    assert by_name["score"].values.tolist() == [0.75, 0.25]
    assert by_name["raw_score"].values.tolist() == [0.85, 0.35]
    assert by_name["threshold"].values.tolist() == [0.3, 0.3]
    assert by_name["anomaly_map"].shape == [2, 2, 3]


def test_maps_of_many_sizes_are_given_at_that_of_the_input():
    findings = [
        Finding(Decision.OK, 0.1, 0.1, 0.3, (), {}, np.full(size, 0.5, np.float32))
        for size in ((2, 3), (7, 1), (40, 60))
    ]
    requested = [OutputAsked(name="anomaly_map")]
    (output,) = write_outputs(choose_outputs(requested, {}), findings, ImageSize(2, 3))
    assert output.shape == [3, 2, 3]
    assert np.allclose(output.values, 0.5)


def test_the_metadata_names_every_tensor():
    assert [described.name for described in input_metadata()] == ["image"]
    outputs = {
        described.name: (described.datatype, described.shape)
        for described in output_metadata(ImageSize(48, 64))
    }
    assert outputs == {
        "score": ("FP32", [-1]),
        "raw_score": ("FP64", [-1]),
        "threshold": ("FP64", [-1]),
        "decision": ("BYTES", [-1]),
        "anomaly_map": ("FP32", [-1, 48, 64]),
    }
