"""The engine on a GPU: compiled kernels, captured graphs, real sizes. `make test-gpu` runs it."""

import copy
import gc
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.engines.cuda import plain
from model.engines.cuda.device import CudaDevice
from model.engines.cuda.engine import CudaEngine, CudaShare
from model.engines.cuda.network import EncoderCopies, InferenceNetwork, operations
from model.engines.cuda.operations import Norm
from model.engines.cuda.plan import CANDIDATES, REFERENCE, matrix_precision
from model.engines.torch.engine import TorchEngine
from model.images.preprocess import Preprocessing
from model.network import MambaAD, NetworkConfig
from model.scoring.scores import Scoring

pytestmark = pytest.mark.gpu

NAME = "cuda:0"
SMALL = NetworkConfig(
    encoder="resnet18", image_size=(64, 64), depths=(2, 2, 2, 2), directions=4, state_size=4
)
STAGES = ((8, 512), (16, 256), (32, 128), (64, 64))
"""Side and channels of the paper configuration's maps."""
TOLERANCES = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 8e-2}


def make(config):
    torch.manual_seed(0)
    network = MambaAD(config).eval()
    preprocessing = Preprocessing(
        image_size=config.image_size, mean=network.encoder.mean, std=network.encoder.std
    )
    return network, preprocessing, Scoring()


def pixels(config, count):
    shape = (count, 3, *config.image_size)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def reference_maps(config, count):
    """Compute on the CPU, with another library and other kernels."""
    return TorchEngine(*make(config), "cpu").compare(pixels(config, count), lambda _: None)


def prepared(config, share, most):
    engine = CudaEngine(*make(config), share)
    for step in engine.preparation(most):
        step()
    return engine


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("side", "channels"), STAGES)
def test_fused_operations_at_real_sizes(side, channels, dtype):
    generator = torch.Generator(NAME).manual_seed(0)
    fused = operations(fused=True)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, device=NAME)

    def check(actual, expected):
        tolerance = TOLERANCES[dtype]
        torch.testing.assert_close(actual, expected, atol=tolerance, rtol=tolerance)

    wide = drawn(3, side, side, 2 * channels).to(dtype)
    x, gate = wide.chunk(2, dim=-1)
    norm = Norm(drawn(channels), drawn(channels), 1e-5)
    with matrix_precision("float32"):
        check(fused.row_norm(x, norm, dtype, gate), plain.row_norm(x, norm, dtype, gate))
        for k in (3, 5, 7):
            windows, bias = drawn(k * k, channels) / k, drawn(channels)
            convolved = fused.depthwise(x, windows, bias, silu=True)
            check(convolved, plain.depthwise(x, windows, bias, silu=True))
        check(fused.instance_norm_silu(gate), plain.instance_norm_silu(gate))
        check(fused.distance(x, gate), plain.distance(x, gate))


@pytest.mark.parametrize("plan", [REFERENCE, *CANDIDATES], ids=str)
def test_every_plan_computes_the_network(plan):
    network, preprocessing, scoring = make(SMALL)
    device = CudaDevice(NAME)
    with torch.inference_mode(), device.running():
        made = InferenceNetwork(
            network, preprocessing, scoring, plan, EncoderCopies(device.torch_device),
            device.torch_device,
        )  # fmt: skip
        maps = made.answer(torch.from_numpy(pixels(SMALL, 3)).to(NAME)).cpu().numpy()
    exact = plan.encoder == plan.decoder == "float32"
    np.testing.assert_allclose(maps, reference_maps(SMALL, 3), atol=1e-4 if exact else 5e-2)


@pytest.mark.parametrize("config", [SMALL, NetworkConfig()], ids=["small", "paper"])
def test_prepared_scores_are_float32s(config):
    engine = prepared(config, CudaShare.on(NAME), 4)
    assert engine.captured == (1, 2, 3, 4)
    expected = reference_maps(config, 4)
    scoring = Scoring()
    for count in (1, 3, 4):
        maps = engine.compare(pixels(config, count), lambda _: None)
        scores = scoring.raw_scores(maps) - scoring.raw_scores(expected[:count])
        assert np.abs(scores).max() <= 2e-3  # the plan's tolerance, and another device's rounding


def test_a_replay_depends_on_its_own_images_alone():
    engine = prepared(SMALL, CudaShare.on(NAME), 8)
    images = pixels(SMALL, 5)
    first = engine.compare(images, lambda _: None)
    engine.compare(255 - pixels(SMALL, 8), lambda _: None)
    engine.compare(images[:1], lambda _: None)
    np.testing.assert_array_equal(engine.compare(images, lambda _: None), first)


def test_networks_with_one_memory_do_not_disturb_each_other():
    share = CudaShare.on(NAME)
    engines = [prepared(config, share, 4) for config in (SMALL, replace(SMALL, scan="sweep"))]
    images = pixels(SMALL, 4)
    alone = [engine.compare(images, lambda _: None) for engine in engines]
    for _ in range(3):
        for engine, expected in zip(engines, alone, strict=True):
            np.testing.assert_array_equal(engine.compare(images, lambda _: None), expected)
    del engines[0], engine
    np.testing.assert_array_equal(engines[0].compare(images, lambda _: None), alone[1])


def test_memory_is_flat_over_fifty_loads():
    share, reserved = CudaShare.on(NAME, "tf32"), []
    network, *options = make(SMALL)
    for _ in range(50):
        engine = CudaEngine(copy.deepcopy(network), *options, share)
        for step in engine.preparation(2):
            step()
        engine.compare(pixels(SMALL, 2), lambda _: None)
        del engine, step
        gc.collect()
        torch.cuda.empty_cache()
        reserved.append(torch.cuda.memory_reserved(NAME))
    assert max(reserved[5:]) <= reserved[4]
