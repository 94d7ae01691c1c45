import pytest

from model.errors import ConfigError, ScanError
from model.network import NetworkConfig


def test_the_defaults_are_the_papers():
    config = NetworkConfig()
    assert (config.encoder, config.image_size) == ("resnet34", (256, 256))
    assert (config.scan, config.directions, config.state_size) == ("hilbert", 8, 16)
    assert config.depths == (3, 4, 6, 3)
    assert config.stage_sizes == ((8, 8), (16, 16), (32, 32), (64, 64))


def test_json_and_back():
    config = NetworkConfig(scan="zigzag", image_size=(64, 96), depths=(2, 2, 2, 2))
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in config.to_dict().items()}
    assert NetworkConfig.from_dict(values) == config
    with pytest.raises(ConfigError, match="NetworkConfig has no dephts"):
        NetworkConfig.from_dict({"dephts": [2, 2, 2, 2]})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": (250, 256)}, "multiple of 32"),
        ({"image_size": (0, 256)}, "multiple of 32"),
        ({"depths": (3, 4, 6)}, "4 stages"),
        ({"depths": (3, 4, 5, 3)}, "positive multiple of 3 or of 2"),
        ({"depths": (3, 0, 6, 3)}, "positive multiple of 3 or of 2"),
        ({"depths": (1, 2, 2, 2)}, "positive multiple of 3 or of 2"),
        ({"scan": "spiral"}, "unknown scan 'spiral'; have: sweep"),
        ({"directions": 6}, "directions must be one of"),
        ({"state_size": 0}, "state_size must be 1 to 256"),
        ({"drop_path": 1.0}, "drop_path must be in"),
    ],
)
def test_networks_that_cannot_exist(wrong, message):
    with pytest.raises(ConfigError, match=message):
        NetworkConfig(**wrong)


@pytest.mark.parametrize("size", [(128, 256), (96, 96)])
def test_a_scan_without_an_order_for_the_size(size):
    with pytest.raises(ScanError, match="sweep, scan and zigzag exist for every size"):
        NetworkConfig(image_size=size, scan="zorder")
    NetworkConfig(image_size=size)
