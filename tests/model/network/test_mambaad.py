import pytest
import torch

from model.errors import ConfigError, WeightsError
from model.network import MambaAD, NetworkConfig
from model.network.decoder import _drop_path_rates

SMALL = NetworkConfig(
    encoder="tf_efficientnet_lite0", image_size=(64, 64), depths=(2, 2, 3, 2), directions=4,
    state_size=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MambaAD(SMALL)


def images(count=2, size=(64, 64)):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def test_the_student_has_the_teachers_shapes(network):
    teacher, student = network.eval()(images())
    assert [t.shape for t in teacher] == [s.shape for s in student]
    assert [tuple(t.shape) for t in teacher] == [
        (2, 24, 16, 16), (2, 40, 8, 8), (2, 112, 4, 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {"scan": "sweep", "image_size": (64, 96)},
        {"scan": "zigzag", "image_size": (96, 32), "directions": 8},
        {"encoder": "resnet18", "directions": 2, "state_size": 3},
    ],
)
def test_what_the_published_code_hard_wires_can_be_chosen(options):
    config = NetworkConfig(**{**SMALL.to_dict(), **options})
    network = MambaAD(config).eval()
    teacher, student = network(images(1, config.image_size))
    assert [t.shape for t in teacher] == [s.shape for s in student]
    assert network.feature_shapes == tuple(tuple(t.shape[1:]) for t in teacher)


def test_backends_agree(network):
    network.eval()
    with torch.no_grad():
        _, fast = network.use_backend("cpu")(images())
        _, slow = network.use_backend("reference")(images())
    network.use_backend("auto")
    for a, b in zip(fast, slow, strict=True):
        assert (a - b).norm() / b.norm() < 1e-5
    with pytest.raises(ConfigError, match="unknown scan backend"):
        network.use_backend("abacus")


def test_an_image_of_another_size_is_refused(network):
    with pytest.raises(ConfigError, match=r"takes images of \(64, 64\), got \(96, 64\)"):
        network(images(1, (96, 64)))


def test_everything_but_the_encoder_learns():
    torch.manual_seed(0)
    network = MambaAD(NetworkConfig(**{**SMALL.to_dict(), "drop_path": 0.0})).train()
    teacher, student = network(images())
    sum((t - s).square().mean() for t, s in zip(teacher, student, strict=True)).backward()
    for name, parameter in network.named_parameters():
        if name.startswith("encoder."):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
    still = [n for n, p in network.named_parameters() if p.grad is not None and not p.grad.any()]
    # A bias before a normalisation has no effect, and instance norm averages many values here.
    assert all(n.endswith("bias") for n in still), still


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    network = MambaAD(NetworkConfig(**{**SMALL.to_dict(), "drop_path": 0.0})).train()
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for _ in range(12):
        teacher, student = network(images())
        loss = sum((t - s).square().mean() for t, s in zip(teacher, student, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_trained_state_round_trip(network):
    torch.manual_seed(5)
    other = MambaAD(SMALL)
    other.load_trained_state(network.trained_state())
    other.encoder.load_state_dict(network.encoder.state_dict())
    with torch.no_grad():
        _, a = network.eval()(images())
        _, b = other.eval()(images())
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not any(key.startswith("encoder.") for key in network.trained_state())


def test_a_state_of_another_network_is_refused(network):
    deeper = MambaAD(NetworkConfig(**{**SMALL.to_dict(), "depths": (2, 4, 3, 2)}))
    with pytest.raises(WeightsError, match="tensors do not fit this network"):
        network.load_trained_state(deeper.trained_state())
    state = network.trained_state()
    state["fusion.merge.0.bias"] = torch.zeros(3)
    with pytest.raises(WeightsError, match="1 of"):
        network.load_trained_state(state)


def test_drop_path_falls_from_coarse_to_fine():
    rates = _drop_path_rates(NetworkConfig(drop_path=0.15))
    expected = torch.linspace(0.15, 0, 16).tolist()
    assert rates[0] == expected[:1]
    assert rates[1] == expected[3:5]
    assert rates[2] == expected[7:9]
    assert rates[3] == expected[13:14]
