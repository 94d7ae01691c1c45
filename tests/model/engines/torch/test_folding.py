"""A folded or packed network computes the same as the original."""

import pytest
import torch
from torch import nn

from model.engines.torch import packing
from model.engines.torch.folding import fold_batch_norms, folded
from model.engines.torch.packing import PackedConv, prepare_for_cpu
from model.network import Encoder, MambaAD, NetworkConfig
from model.network.blocks import HSS

from timm.layers.conv2d_same import Conv2dSame  # isort: skip - after the repair in model
from timm.layers.std_conv import StdConv2d  # isort: skip

TOLERANCE = 1e-5
SIZE = (64, 96)


def unsettle(module):
    """Give every batch norm different statistics and affine parts."""
    generator = torch.Generator().manual_seed(3)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            with torch.no_grad():
                norm.running_mean.normal_(0, 0.2, generator=generator)
                norm.running_var.uniform_(0.5, 2, generator=generator)
                norm.weight.uniform_(0.5, 1.5, generator=generator)
                norm.bias.normal_(0, 0.2, generator=generator)
    return module


def build(encoder):
    torch.manual_seed(0)
    config = NetworkConfig(
        encoder=encoder, image_size=SIZE, depths=(2, 2, 2, 2), directions=2, state_size=1,
        scan="sweep",
    )  # fmt: skip
    return unsettle(MambaAD(config)).eval()


def images(count=1):
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def norms(module):
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


@torch.no_grad()
def assert_same(first, other, count=1):
    features, expected = first.encoder(images(count)), other.encoder(images(count))
    fused, wanted_fused = first.fusion(features), other.fusion(expected)
    for value, wanted in zip(
        [*features, fused, *first.decoder(fused)],
        [*expected, wanted_fused, *other.decoder(wanted_fused)],
        strict=True,
    ):
        assert (value - wanted).norm() < TOLERANCE * wanted.norm()


@pytest.mark.parametrize("encoder", ["tf_efficientnet_lite0", "resnet34", "mobilenetv3_small_100"])
def test_folding_changes_nothing_but_the_batch_norms(encoder):
    network = build(encoder)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    twin = fold_batch_norms(network)
    assert norms(network) and not norms(twin)
    assert_same(twin, network)
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert twin.decoder is network.decoder


@pytest.mark.parametrize("encoder", ["tf_efficientnet_lite0", "resnet34", "mobilenetv3_small_100"])
def test_packing_changes_only_the_arithmetic(encoder):
    network = build(encoder)
    packed = prepare_for_cpu(network)
    assert any(isinstance(m, PackedConv) for m in packed.encoder.modules())
    assert not any(type(m) is nn.Conv2d for m in packed.fusion.modules())
    blocks = [block for block in packed.decoder.modules() if isinstance(block, HSS)]
    assert blocks and all(isinstance(block.conv, PackedConv) for block in blocks)
    assert all(isinstance(block.act, nn.Identity) for block in blocks)
    shared = {id(p) for p in network.decoder.parameters()}
    assert {id(p) for p in packed.decoder.parameters()} < shared
    assert all(p.requires_grad for p in network.decoder.parameters())
    assert_same(packed, network)
    assert_same(packed, network, count=3)


def test_networks_that_share_an_encoder_share_the_folded_one():
    network = build("resnet18")
    other = MambaAD(network.config, network.encoder)
    assert fold_batch_norms(network).encoder is fold_batch_norms(other).encoder


def test_an_encoder_that_has_changed_is_folded_again():
    network = build("resnet18")
    fold_batch_norms(network)
    unsettle(network.encoder)
    with torch.no_grad():
        network.encoder.net.conv1.weight.mul_(2)
    assert_same(fold_batch_norms(network), network)


class Odd(nn.Module):
    """Batch norms that cannot be folded, for four reasons."""

    def __init__(self):
        super().__init__()
        self.forks, self.after_fork = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.twice, self.after_twice = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.standardised, self.after_standardised = StdConv2d(3, 3, 3), nn.BatchNorm2d(3)
        self.momentary = nn.Conv2d(3, 3, 1)
        self.after_momentary = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x):
        y = self.forks(x)
        x = self.after_fork(y) + y
        x = self.after_twice(self.twice(self.twice(x)))
        x = self.after_standardised(self.standardised(x))
        return self.after_momentary(self.momentary(x))


def test_what_cannot_be_folded_stays():
    torch.manual_seed(0)
    odd = Odd().eval()
    for norm in norms(odd):
        if norm.running_mean is not None:
            unsettle(norm)
    twin = folded(odd, images())
    assert len(norms(twin)) == 4
    assert torch.equal(twin(images()), odd(images()))


@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (3, 1), (2, 2)])
def test_same_padding_is_packed_without_a_copy(size, kernel, stride):
    conv = Conv2dSame(4, 8, kernel, stride)
    x = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        packed = PackedConv(conv, nn.ReLU6(), x.shape)
        torch.testing.assert_close(packed(x), conv(x).clamp(0, 6), rtol=1e-5, atol=1e-5)


def packed_in(network):
    return [m for m in network.modules() if isinstance(m, PackedConv)]


def test_without_the_operators_nothing_is_packed(monkeypatch):
    network = build("resnet18")
    monkeypatch.delattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    prepared = prepare_for_cpu(network)
    assert not packed_in(prepared) and not norms(prepared)
    assert_same(prepared, network)


def test_operators_that_answer_wrongly_are_not_used(monkeypatch, caplog):
    network = build("resnet18")
    right = PackedConv.forward
    monkeypatch.setattr(packing.PackedConv, "forward", lambda self, x: 1.01 * right(self, x))
    prepared = prepare_for_cpu(network)
    assert not packed_in(prepared)
    assert_same(prepared, network)
    assert "not packed" in caplog.text


def test_the_encoder_alone_can_be_folded():
    encoder = unsettle(Encoder("tf_efficientnet_lite0"))
    assert not norms(folded(encoder, images()))
