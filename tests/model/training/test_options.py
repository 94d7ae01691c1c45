"""Options that are off by default, and their effects."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.checkpoints.checkpoint import CheckpointStore
from model.errors import ConfigError
from model.network import MambaAD
from model.network.normalise import normalise
from model.runtimes.torch import open_checkpoint
from model.scoring.cosine_map import anomaly_map
from model.training import Run, TrainingConfig, TrainingData, train
from model.training.applying.disturbance import drop, jitter
from model.training.applying.emphasis import position_weights
from model.training.features import standardise
from model.training.parallel.group import Group
from model.training.progress.monitor import Monitor
from model.training.recipe.disturbance import Disturbance
from model.training.recipe.emphasis import Emphasis
from tests.tiny import CONFIG, TINY, after, always, final_state, recipe, same

ALONE = Group()


def maps(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, c, n, n, generator=generator) for c, n in ((8, 16), (16, 8), (32, 4))]


def test_everything_is_off_by_default():
    config = TrainingConfig()
    assert config.disturbance == Disturbance() and config.emphasis == Emphasis()
    assert jitter(Disturbance(), maps(), ALONE)[0].equal(maps()[0])
    fused = maps()[2]
    assert drop(Disturbance(), fused, ALONE) is fused
    assert position_weights(Emphasis(), fused) is None
    assert (config.precision, config.standardise_features) == ("float32", False)
    assert (config.keep, config.patience, config.watch_fraction) == ("last", 0, 0)
    assert not config.keeps_best


def test_noise_is_as_large_as_the_features_where_it_is_added():
    disturbance = Disturbance(feature_noise=0.5)
    clean = [m * (1 + 9 * (torch.arange(4) % 2)).view(-1, 1, 1, 1) for m in maps()]
    torch.manual_seed(0)
    for before, now in zip(clean, jitter(disturbance, clean, ALONE), strict=True):
        rms = before.square().mean(dim=(1, 2, 3)).sqrt()
        noise = (now - before).square().mean(dim=(1, 2, 3)).sqrt()
        torch.testing.assert_close(noise / rms, torch.full((4,), 0.5), rtol=0.15, atol=0)


def test_noise_comes_to_the_share_of_images_it_is_meant_for():
    images = [torch.ones(2000, 1, 1, 1)]
    torch.manual_seed(0)
    (noisy,) = jitter(Disturbance(feature_noise=1.0, feature_noise_probability=0.3), images, ALONE)
    assert 0.25 < float((noisy != 1).float().mean()) < 0.35


def test_dropout_keeps_the_mean():
    torch.manual_seed(0)
    dropped = drop(Disturbance(fusion_dropout=0.25), torch.ones(4, 50, 10, 10), ALONE)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert float(dropped.mean()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(
    ("field", "value"),
    [("feature_noise", -1.0), ("feature_noise_probability", 0.0), ("fusion_dropout", 1.0)],
)
def test_impossible_disturbances_are_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=field):
        Disturbance(**{field: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"disturbance": Disturbance(feature_noise=1.0)},
        {"disturbance": Disturbance(fusion_dropout=0.5)},
        {"emphasis": Emphasis(hard_mining=0.9, hard_mining_ramp=0.0)},
        {"emphasis": Emphasis(border_share=0.2, border_weight=0.1)},
        {"loss": "global_cosine"},
        {"standardise_features": True},
        {"precision": "bfloat16"},
    ],
    ids="-".join,
)
def test_each_option_changes_what_is_learned(trainer_of, changes):
    plain, changed = trainer_of(), trainer_of(**changes)
    plain.run(Monitor(), after(2))
    changed.run(Monitor(), after(2))
    assert not same(final_state(plain), final_state(changed))
    assert all(torch.isfinite(v).all() for v in final_state(changed).values())


def test_nothing_is_disturbed_when_inspecting(trainer_of):
    plain = trainer_of()
    disturbed = trainer_of(disturbance=Disturbance(feature_noise=1.0, fusion_dropout=0.5))
    disturbed.network.load_state_dict(plain.network.state_dict())
    assert plain.watch() == disturbed.watch()


def test_bfloat16_learns_nearly_the_same_and_leaves_float32_weights(trainer_of):
    exact, mixed = trainer_of(epochs=2), trainer_of(epochs=2, precision="bfloat16")
    exact.run(Monitor(), always)
    mixed.run(Monitor(), always)
    assert {v.dtype for v in final_state(mixed).values()} == {
        v.dtype for v in final_state(exact).values()
    }
    for first, second in zip(exact.place.history, mixed.place.history, strict=True):
        assert second.loss == pytest.approx(first.loss, rel=0.02)


def test_scales_that_weigh_nothing_are_not_trained(trainer_of):
    trainer = trainer_of(emphasis=Emphasis(loss_weights=(0.0, 1.0, 1.0)))
    finest = [p.clone() for p in trainer.network.decoder.stages[3].parameters()]
    coarse = [p.clone() for p in trainer.network.decoder.stages[2].parameters()]
    trainer.run(Monitor(), after(1))
    assert all(
        torch.equal(a, b)
        for a, b in zip(finest, trainer.network.decoder.stages[3].parameters(), strict=True)
    )
    assert not all(
        torch.equal(a, b)
        for a, b in zip(coarse, trainer.network.decoder.stages[2].parameters(), strict=True)
    )


def test_scoring_by_untrained_scales_is_refused(data, tmp_path):
    config = replace(CONFIG, emphasis=Emphasis(loss_weights=(0.0, 1.0, 1.0)))
    store = CheckpointStore(tmp_path / "w")
    run = Run(
        name="bolts", folder=tmp_path / "run", store=store, recipe=recipe(tmp_path.parent, config)
    )
    with pytest.raises(ConfigError, match="scale_weights"):
        train(run, data)


def test_standardised_features_have_mean_zero_and_deviation_one():
    torch.manual_seed(0)
    encoder = MambaAD(TINY).encoder
    batches = list(torch.randn(6, 3, 64, 64).split(2))
    standardise(encoder, iter(batches))
    features = [torch.cat(parts) for parts in zip(*map(encoder, batches), strict=True)]
    for feature in features:
        channels = feature.transpose(0, 1).flatten(1)
        torch.testing.assert_close(channels.mean(1), torch.zeros(len(channels)), atol=1e-4, rtol=0)
        assert float(channels.std(1, correction=0).median()) == pytest.approx(1, abs=1e-4)


def test_standardised_features_are_part_of_the_checkpoint(data, tmp_path):
    store = CheckpointStore(tmp_path / "w")
    config = replace(CONFIG, epochs=1, standardise_features=True)
    run = Run(
        name="bolts", folder=tmp_path / "run", store=store, recipe=recipe(tmp_path.parent, config)
    )
    saved = train(run, data)
    loaded = store.load("bolts").network.eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for first, second in zip(saved.network.encoder(image), loaded.encoder(image), strict=True):
            torch.testing.assert_close(first, second)
        assert loaded.encoder.standardises
    pixels = torch.zeros(1, 3, 64, 64, dtype=torch.uint8).numpy()
    detector = open_checkpoint(store.load("bolts"))
    blank = normalise(torch.from_numpy(pixels), detector.preprocessing)
    with torch.no_grad():
        expected = anomaly_map(*loaded(blank), (64, 64)).numpy()
    np.testing.assert_allclose(detector.anomaly_maps(pixels), expected, atol=1e-4)


# The best weights, and early stopping


def test_the_best_weights_are_those_of_the_lowest_watched_loss(trainer_of, monkeypatch):
    trainer = trainer_of(epochs=3, keep="best")
    states, losses = [], iter([0.5, 0.2, 0.4])

    def watched():
        loss = next(losses)
        states.append({k: v.clone() for k, v in trainer.network.trained_state().items()})
        trainer.best.offer(loss, trainer.place.epoch + 1, trainer.network.trained_state())
        return loss

    monkeypatch.setattr(trainer, "watch", watched)
    trainer.run(Monitor(), always)
    assert (trainer.best.epoch, trainer.best.loss) == (2, 0.2)
    assert same(final_state(trainer), states[1])
    assert not same(final_state(trainer), states[2])


def test_patience_ends_a_run_that_gets_no_better(trainer_of, recorder):
    trainer = trainer_of(epochs=50, learning_rate=1e-9, patience=2, disturbance=Disturbance())
    rising = iter([0.9, 0.5, 0.6, 0.55, 0.1])
    trainer.watch = lambda: next(rising)
    trainer.run(recorder, always)
    assert [r.held_out_loss for r in recorder.records] == [0.9, 0.5, 0.6, 0.55]
    assert trainer.finished


def test_early_stopping_needs_something_to_watch(trainer_of, data):
    with pytest.raises(ConfigError, match="watch"):
        trainer_of(images=TrainingData(data.train, ()), patience=2)


def test_watched_images_are_kept_apart_from_training_and_calibration(data):
    apart = data.keep_apart(0.25, 0)
    assert len(apart.watch) == 2
    assert set(apart.train) | set(apart.watch) == set(data.train)
    assert not set(apart.train) & set(apart.watch)
    assert apart.watched == apart.watch
    assert apart.held_out == data.held_out
    assert data.keep_apart(0.0, 0) is data and data.watched == data.held_out


# Unusable training images


def test_a_gradient_that_is_no_number_leaves_the_weights_alone(trainer_of, monkeypatch):
    trainer = trainer_of()
    before = {k: v.clone() for k, v in trainer.network.named_parameters()}
    monkeypatch.setattr(trainer, "_gradient_norm", lambda: torch.tensor(float("inf")))
    with pytest.raises(Exception, match=r"training gradient became inf in epoch 1, step 1"):
        trainer.run(Monitor(), always)
    assert same(before, dict(trainer.network.named_parameters()))


def test_one_image_is_enough_unless_it_is_too_small(trainer_of, data):
    single = TrainingData(data.train[:1], ())
    trainer = trainer_of(images=single, epochs=1)
    trainer.run(Monitor(), always)
    assert trainer.finished
    small = replace(trainer.preprocessing, image_size=(32, 32))
    network = MambaAD(replace(TINY, image_size=(32, 32)))
    with pytest.raises(ConfigError, match="a batch of one 32 x 32 image"):
        type(trainer)(CONFIG, network, small, single, torch.device("cpu"))
