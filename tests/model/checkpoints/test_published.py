"""The published network: equal outputs to 1e-4, and all forms of its checkpoint."""

import re

import numpy as np
import pytest
import torch

from model.checkpoints.published import load_state_dict, network_from_state_dict
from model.errors import WeightsError
from model.scoring.cosine_map import anomaly_map
from tests.published import FULL_DEPTHS, REFERENCE, image, state_dict

STRIDE = 17  # stored features are every 17th
TOLERANCE = 1e-4
PUBLISHED_MAP_FACTOR = 3  # the published evaluator divides the map by the scales twice

CONFIGURATIONS = sorted(path.stem for path in REFERENCE.glob("*dir*.npz"))


def relative(value, expected):
    return np.linalg.norm(value - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def published(request):
    scan, directions, depths = re.fullmatch(r"(\w+)_(\d)dir_(.+)", request.param).groups()
    depths = tuple(map(int, depths.split("-")))
    with np.load(REFERENCE / f"{request.param}.npz") as stored:
        expected = dict(stored)
    return network_from_state_dict(state_dict(scan, int(directions), depths)), expected


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_parity_with_the_published_network(published, backend):
    network, expected = published
    with torch.inference_mode():
        teacher, student = network.use_backend(backend)(image())
        maps = anomaly_map(teacher, student, (256, 256)).numpy() / PUBLISHED_MAP_FACTOR
    for role, features in (("teacher", teacher), ("student", student)):
        for scale, feature in enumerate(features):
            sample = feature.contiguous().flatten()[::STRIDE].numpy()
            assert relative(sample, expected[f"{role}{scale}"]) < TOLERANCE, (role, scale)
    assert np.abs(maps[:, ::4, ::4] - expected["anomaly_map"]).max() < TOLERANCE
    assert abs(maps.max() - expected["score"][0]) < TOLERANCE


@pytest.fixture(scope="module")
def full():
    return state_dict()


def test_the_full_configuration(full):
    network = network_from_state_dict(full)
    assert network.config.scan == "hilbert"
    assert (network.config.encoder, network.config.depths) == ("resnet34", FULL_DEPTHS)
    assert (network.config.directions, network.config.state_size) == (8, 16)
    assert network.config.image_size == (256, 256)

    def millions(module):
        return round(sum(p.numel() for p in module.parameters()) / 1e6, 2)

    assert millions(network.encoder) == 8.17
    assert millions(network.fusion) == 1.46
    assert millions(network.decoder) == 15.99
    assert round(millions(network), 1) == 25.6


@pytest.fixture(scope="module")
def small():
    return state_dict("zigzag", 2, (2, 2, 2, 2))


def same(a, b):
    return all(torch.equal(x, b.state_dict()[k]) for k, x in a.state_dict().items())


@pytest.mark.parametrize("wrap", ["flat", "net", "module", "net+module"])
def test_every_form_of_checkpoint(small, wrap, tmp_path):
    state = {f"module.{k}": v for k, v in small.items()} if "module" in wrap else small
    torch.save({"net": state, "epoch": 3} if "net" in wrap else state, tmp_path / "x.pth")
    loaded = network_from_state_dict(load_state_dict(tmp_path / "x.pth"))
    assert same(loaded, network_from_state_dict(small))
    assert loaded.config.scan == "zigzag"


def test_a_network_can_be_built_from_the_wrapped_dict_too(small):
    wrapped = {"net": {f"module.{k}": v for k, v in small.items()}, "epoch": 3}
    assert same(network_from_state_dict(wrapped), network_from_state_dict(small))


class _Bomb:
    def __reduce__(self):
        return (print, ("code ran from a checkpoint",))


def test_no_code_runs_from_a_checkpoint(tmp_path, capsys):
    torch.save({"net": _Bomb()}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="was not unpickled"):
        load_state_dict(tmp_path / "x.pth")
    assert "code ran" not in capsys.readouterr().out


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(WeightsError, match="no checkpoint file"):
        load_state_dict(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("hello", "utf-8")
    with pytest.raises(WeightsError, match="not a file of weights, but text"):
        load_state_dict(tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="not a state dict"):
        load_state_dict(tmp_path / "list.pth")


def test_state_dicts_of_something_else(small):
    with pytest.raises(WeightsError, match="no MambaAD decoder"):
        network_from_state_dict({"conv.weight": torch.zeros(3)})
    without = {k: v for k, v in small.items() if not k.endswith("mff_oce.convf.bias")}
    with pytest.raises(WeightsError, match=r"1 tensors differ.*fusion.merge.0.bias"):
        network_from_state_dict(without)
    shuffled = dict(small)
    for key in small:
        if key.endswith("scans.index_flat"):
            shuffled[key] = small[key].roll(1, dims=-1)
    with pytest.raises(WeightsError, match="unknown scan order"):
        network_from_state_dict(shuffled)
    other = {k.replace("layer1.2", "layer1.7"): v for k, v in small.items()}
    other["net_t.layer1.3.conv1.weight"] = torch.zeros(64, 64, 3, 3)
    with pytest.raises(WeightsError, match="unknown encoder"):
        network_from_state_dict(other)
