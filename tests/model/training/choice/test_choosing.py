"""Each rule fires when and only when its facts are there, and given values win."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.inspection import ImageSize
from model.training import Recipe
from model.training.choice import choose, keep
from model.training.choice.alignment import Alignment
from model.training.choice.rules import (
    FOLDS,
    FOLDS_UNDER,
    LEAST_STEPS,
    NOISE,
    NOISE_UNDER,
    Circumstances,
)
from model.training.recipe.recipe import merge, read_recipe, read_setting

SQUARE, WIDE, TALL = ImageSize(300, 300), ImageSize(128, 512), ImageSize(900, 300)


def alignment(share=0.0, fitted=None, left_right=0.0, top_bottom=0.0):
    return Alignment(
        images=32, share=share, by_chance=0.02, fitted=share if fitted is None else fitted,
        fitted_by_chance=0.05, left_right=left_right, top_bottom=top_bottom,
    )  # fmt: skip


ALIGNED, TEXTURE = alignment(0.4), alignment(0.01)


def facts(good=400, *, sizes=(SQUARE,), device="cpu", different=None, **alignments):
    """Many square images of one texture, unless said otherwise."""
    alignments = alignments or {"bolt": TEXTURE}
    counts = dict.fromkeys(alignments, good)
    known = {name: value for name, value in alignments.items() if value is not None}
    return Circumstances(
        good=counts,
        different=counts if different is None else dict.fromkeys(alignments, different),
        sizes=sizes,
        alignments=known,
        device=device,
    )


def changed(changes, **values):
    return Circumstances(**{name: getattr(changes, name) for name in changes.__slots__} | values)


def setting(*texts):
    values = {}
    for text in texts:
        values = merge(values, read_setting(text))
    return values


def reasons(choice, word):
    return [reason for reason in choice.reasons if word in reason]


def test_the_base_is_that_of_the_device():
    for device, name in (("cpu", "fast"), ("cuda", "quality"), ("cuda:1", "quality")):
        choice = choose(facts(10_000, device=device), {})
        assert choice.base == name
        assert f"begins as {name}" in choice.reasons[0]
        base = Recipe.from_values(read_recipe(name))
        assert choice.recipe.network == base.network


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_places_are_compared_only_where_all_parts_lie_the_same_way(device):
    for alignments, distance in (
        ({"bolt": ALIGNED}, "mahalanobis"),
        ({"bolt": TEXTURE}, "cosine"),
        ({"bolt": ALIGNED, "nut": ALIGNED}, "mahalanobis"),
        ({"bolt": ALIGNED, "nut": TEXTURE}, "cosine"),
        ({"bolt": ALIGNED, "nut": None}, "cosine"),
    ):
        choice = choose(facts(device=device, **alignments), {})
        assert choice.recipe.scoring.distance == distance
        assert len(reasons(choice, "each place is compared")) == (distance == "mahalanobis")
        assert len(reasons(choice, "places are not compared")) == (distance == "cosine")
        assert not choice.warnings
    assert "of nut do not lie the same way (0.01)" in " ".join(
        choose(facts(bolt=ALIGNED, nut=TEXTURE), {}).reasons
    )


def test_patches_are_remembered_and_weigh_more_where_places_are_not_compared():
    for alignments, weight in (({"bolt": ALIGNED}, 1.0), ({"bolt": TEXTURE}, 2.0)):
        choice = choose(facts(**alignments), {})
        scoring = choice.recipe.scoring
        assert (scoring.memory, scoring.memory_weight) == (1000, weight)
        assert reasons(choice, f"from them weighs {weight:g} times")
    for given_values, memory, weight, count in (
        (setting("memory=0"), 0, 1.0, 0),
        (setting("memory=50"), 50, 2.0, 1),
        (setting("memory_weight=0.5"), 1000, 0.5, 1),
        (setting("memory=50", "memory_weight=0.5"), 50, 0.5, 0),
    ):
        choice = choose(facts(), given_values)
        scoring = choice.recipe.scoring
        assert (scoring.memory, scoring.memory_weight) == (memory, weight)
        assert len(reasons(choice, "are remembered")) == count


def test_too_few_images_and_mirrored_parts_are_said():
    unknown = choose(facts(3, bolt=None), {})
    assert reasons(unknown, "bolt has too few different images")
    assert reasons(unknown, "may not look like parts: images are not mirrored")
    mirrored = choose(facts(bolt=alignment(0.05, fitted=0.5)), {})
    assert reasons(mirrored, "except that some are mirrored (0.05, 0.50")
    assert mirrored.recipe.scoring.distance == "cosine"


def test_images_are_mirrored_where_mirrored_ones_look_like_parts():
    for alignments, flips in (
        ({"bolt": TEXTURE}, (True, True)),
        ({"bolt": ALIGNED}, (True, True)),
        ({"bolt": alignment(0.4, left_right=0.4)}, (False, True)),
        ({"bolt": alignment(0.4, left_right=0.4, top_bottom=0.2)}, (False, False)),
        ({"bolt": TEXTURE, "nut": alignment(0.4, top_bottom=0.2)}, (True, False)),
    ):
        choice = choose(facts(**alignments), {})
        augmentation = choice.recipe.training.augmentation
        assert (augmentation.hflip, augmentation.vflip) == flips
        assert len(reasons(choice, "images are mirrored at random")) == any(flips)
        assert len(reasons(choice, "images are not mirrored")) == (not any(flips))
    # The recipe for a GPU does not mirror: nothing to say.
    silent = choose(facts(device="cuda", bolt=alignment(0.4, None, 0.4, 0.4)), {})
    assert not reasons(silent, "mirror")


def test_long_images_get_an_input_of_their_shape():
    for sizes, size in (
        ((SQUARE,), (256, 256)),
        ((ImageSize(480, 640),), (256, 256)),
        ((WIDE,), (128, 512)),
        ((WIDE, ImageSize(127, 500)), (128, 512)),
        ((TALL,), (480, 160)),
        ((WIDE, TALL), (256, 256)),
        ((ImageSize(20, 20_000),), (64, 1024)),
    ):
        choice = choose(facts(sizes=sizes), {})
        assert choice.recipe.network.image_size == size
        assert len(reasons(choice, "the input is")) == (size != (256, 256))
    for given_values in (setting("rot90=true"), setting("scan=zorder"), setting("resize=tile")):
        assert choose(facts(sizes=(WIDE,)), given_values).recipe.network.image_size == (256, 256)


def test_few_images_get_more_epochs_and_many_do_not():
    for device, batch in (("cpu", 8), ("cuda", 16)):
        base = choose(facts(100_000, device=device), {})
        assert not reasons(base, "epochs")
        few = choose(facts(40, device=device), {})
        config = few.recipe.training
        steps = LEAST_STEPS[few.base]
        assert steps <= config.epochs * (32 // batch) < steps + 32 // batch
        assert len(reasons(few, f"32 images to train on are few: {config.epochs} epochs")) == 1


def test_few_images_to_train_on_get_noise_and_many_do_not():
    def noise(good, *texts, **more):
        return choose(facts(good, **more), setting(*texts))

    for choice in (
        noise(10),
        noise(10, "folds=0"),
        noise(NOISE_UNDER - 1, "folds=3"),
        noise(12, bolt=ALIGNED, nut=TEXTURE),
    ):
        assert choice.recipe.training.disturbance.feature_noise == NOISE
        assert len(reasons(choice, "would be learnt by heart")) == 1
    for choice in (
        noise(40),
        noise(NOISE_UNDER, "folds=3"),  # trained on all of them; two categories count together
        noise(13, "folds=3", bolt=TEXTURE, nut=TEXTURE),
        noise(10, "fusion_dropout=0.1"),
        noise(10, device="cuda"),  # its base has dropout
    ):
        assert choice.recipe.training.disturbance.feature_noise == 0
        assert not reasons(choice, "by heart")


def test_few_different_images_are_scored_in_folds():
    assert choose(facts(FOLDS_UNDER), {}).recipe.training.folds == 0
    choice = choose(facts(FOLDS_UNDER - 1), {})
    assert choice.recipe.training.folds == FOLDS
    assert reasons(choice, "too few to hold some out")
    assert choose(facts(400, different=3), {}).recipe.training.folds == 3
    for spared in (
        choose(changed(facts(10), has_reserved=True), {}),
        choose(changed(facts(10), is_timed=True), {}),
        choose(facts(1), {}),
        choose(facts(10), setting("held_out_fraction=0.3")),
        choose(facts(10), setting("patience=3")),
    ):
        assert spared.recipe.training.folds == 0
        assert not reasons(spared, "hold some out")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("distance=mahalanobis", "places are not compared"),
        ("image_size=64", "the input is"),
        ("epochs=2", "epochs"),
        ("folds=0", "hold some out"),
        ("hflip=false", "left-right"),
        ("feature_noise=0", "learnt by heart"),
    ],
)
def test_a_given_value_wins_and_its_rule_is_silent(text, word):
    few = facts(10, sizes=(WIDE,))
    assert reasons(choose(few, {}), word)
    choice = choose(few, setting(text))
    assert not reasons(choice, word)
    key, value = text.split("=")
    values = {path.rpartition(".")[2]: v for path, v in choice.recipe.flat()}
    expected = {"64": [64, 64], "false": False, "2": 2, "0": 0}.get(value, value)
    assert values[key] == expected


def test_a_distance_that_cannot_work_is_kept_with_a_warning():
    choice = choose(facts(), setting("distance=mahalanobis"))
    assert choice.recipe.scoring.distance == "mahalanobis"
    fast = Recipe.from_values(read_recipe("fast"))
    for warned in (choice, keep(fast, {"bolt": TEXTURE})):
        (warning,) = warned.warnings
        assert "parts of bolt do not lie the same way (0.01), but distance mahalanobis" in warning
    assert keep(fast, {"bolt": ALIGNED}).recipe == fast
    assert not keep(fast, {"bolt": ALIGNED}).warnings


def test_tiles_and_standardise_exclude_the_comparison_of_places():
    for given_values in (setting("resize=tile"), setting("standardise=true")):
        choice = choose(facts(bolt=ALIGNED), given_values)
        assert choice.recipe.scoring.distance == "cosine"
        assert reasons(choice, "places are not compared")


def test_tiles_are_mentioned_for_large_images():
    assert not choose(facts(sizes=(ImageSize(1000, 1000),)), {}).warnings
    (hint,) = choose(facts(sizes=(ImageSize(2560, 2560),)), {}).warnings
    assert "reduced 10 times" in hint
    assert "--tile" in hint


shares = st.floats(-0.1, 1)
alignments = st.builds(alignment, shares, shares, shares, shares)
sides = st.integers(1, 20_000)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 500), min_size=1, max_size=3),
    known=st.lists(st.none() | alignments, min_size=3, max_size=3),
    sizes=st.lists(st.builds(ImageSize, sides, sides), min_size=1, max_size=3),
    device=st.sampled_from(["cpu", "cuda"]),
    texts=st.sets(
        st.sampled_from([
            "resize=tile", "resize=letterbox", "standardise=true", "rot90=true", "epochs=1",
            "folds=3", "batch_size=1", "keep=best", "scan=zorder", "hflip=true",
        ]),
        max_size=3,
    ),
)  # fmt: skip
def test_a_choice_is_always_a_valid_recipe_with_the_given_values(
    counts, known, sizes, device, texts
):
    good = {f"c{number}": count for number, count in enumerate(counts)}
    pairs = zip(good, known, strict=False)
    measured = {name: value for name, value in pairs if value is not None}
    texts = sorted(texts)
    given_values = setting(*texts)
    choice = choose(
        Circumstances(good=good, different=good, sizes=sizes, alignments=measured, device=device),
        given_values,
    )
    assert Recipe.from_values(choice.recipe.to_values()) == choice.recipe
    assert Recipe.from_values(merge(choice.recipe.to_values(), given_values)) == choice.recipe
    height, width = choice.recipe.network.image_size
    assert height % 32 == width % 32 == 0
    assert not (choice.recipe.training.augmentation.rot90 and height != width)
    folds = choice.recipe.training.folds
    assert folds <= min(counts) or "folds=3" in texts
