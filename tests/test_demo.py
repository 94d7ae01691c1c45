"""The demonstration's split: fixed, disjoint, and equal to the committed one."""

from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from demo import ablation, solar, splits
from model.training.recipe.recipe import PRESETS, Recipe, merge, read_recipe, read_setting


@pytest.fixture
def cells():
    return solar.read_split()


def test_committed_split_is_the_one_the_seed_draws(cells):
    assert solar.draw_split(solar.read_labels(solar.data_folder())) == cells


def test_another_seed_draws_another_split(cells):
    assert solar.draw_split(cells, seed=1) != cells


def test_every_cell_is_in_exactly_one_split(cells):
    assert len({cell.file for cell in cells}) == len(cells) == 2624
    assert {cell.split for cell in cells} == {"train", "held_out", "test", "development"}


def test_only_good_cells_are_learned_from_and_no_uncertain_cell_is_tested(cells):
    assert {c.probability for c in cells if c.split in {"train", "held_out"}} == {"0.0000"}
    assert {c.probability for c in cells if c.split == "test"} == {"0.0000", "1.0000"}
    assert not any(c.is_good for c in cells if c.split == "development")
    assert not any(c.split == "test" for c in cells if c.probability in {"0.3333", "0.6667"})


def test_counts_per_category(cells):
    counts = Counter((c.category, c.split, c.is_good) for c in cells)
    assert counts["solar-mono", "test", True] == 147
    assert counts["solar-poly", "test", True] == 230
    assert counts["solar-mono", "test", False] == 235
    assert counts["solar-poly", "test", False] == 302
    assert counts["solar-mono", "held_out", True] == counts["solar-poly", "held_out", True] == 110
    assert counts["solar-mono", "train", True] == 331
    assert counts["solar-poly", "train", True] == 580


def names(root: Path, pattern: str) -> set[str]:
    return {path.name for path in root.glob(pattern)}


def test_prepare_writes_the_split(tmp_path, cells):
    result = CliRunner().invoke(solar.app, ["prepare", str(tmp_path)])
    assert result.exit_code == 0, result.output
    for split in ("train", "held_out", "test"):
        expected = {Path(c.file).name for c in cells if c.split == split}
        assert names(tmp_path, f"*/{split}/*/*.png") == expected


def test_development_folder_holds_no_test_image(tmp_path, cells):
    result = CliRunner().invoke(solar.app, ["prepare", str(tmp_path), "--development"])
    assert result.exit_code == 0, result.output
    tested = {Path(c.file).name for c in cells if c.split == "test"}
    assert not names(tmp_path, "**/*.png") & tested
    assert names(tmp_path, "*/test/good/*") == names(tmp_path, "*/held_out/good/*")


def test_prepare_refuses_a_folder_with_other_images(tmp_path):
    stray = tmp_path / "solar-mono" / "train" / "good" / "cell9999.png"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"")
    result = CliRunner().invoke(solar.app, ["prepare", str(tmp_path)])
    assert result.exit_code == 2
    assert list(tmp_path.rglob("*.png")) == [stray]


@pytest.fixture
def grouped():
    return splits.draw_grouped(solar.read_labels(solar.data_folder()), seed=1)


def test_a_run_of_files_lies_on_one_side(grouped):
    assert sorted({cell.file for cell in grouped}) == [cell.file for cell in grouped]
    for start in range(0, len(grouped), splits.RUN_LENGTH):
        run = grouped[start : start + splits.RUN_LENGTH]
        assert len({cell.split for cell in run if cell.is_good}) <= 1
        tested = any(cell.split == "test" for cell in run)
        assert not (tested and any(cell.split in {"train", "held_out"} for cell in run))


def test_grouped_splits_leave_enough_to_learn_from_and_differ(grouped, cells):
    counts = Counter((cell.category, cell.split) for cell in grouped if cell.is_good)
    for category in ("solar-mono", "solar-poly"):
        assert counts[category, "held_out"] >= solar.HELD_OUT
        assert counts[category, "train"] > 250
    assert splits.draw_grouped(cells, seed=2) != grouped
    development = {cell.file for cell in cells if cell.split == "development"}
    assert all(cell.split == "development" for cell in grouped if cell.file in development)


def standing(method, score, auroc):
    return {"method": method, "score": score, "image_auroc": auroc}


def test_ours_counts_as_calibrated_and_a_rival_by_its_best_score():
    mambaad = [standing("MambaAD", "calibrated", 0.9), standing("MambaAD", "max", 0.95)]
    rival = [standing("PaDiM", "max", 0.8), standing("PaDiM", "top", 0.85)]
    result = {"baselines": {"categories": {"a": mambaad + rival}}}
    aurocs = splits.image_aurocs(result)
    assert aurocs == {"MambaAD": {"a": 0.9}, "PaDiM": {"a": 0.85}}
    trials = [{"split": "random", "image_auroc": aurocs}] * 2
    assert splits.means(trials, splits.Kind.RANDOM) == aurocs


@pytest.mark.parametrize("group", sorted(ablation.GROUPS))
def test_each_trial_of_the_ablation_changes_just_what_it_says(group):
    shipped = dict(Recipe.from_values(read_recipe(ablation.RECIPE)).flat())
    for variant, overrides in ablation.GROUPS[group].items():
        values = read_recipe(ablation.RECIPE)
        for override in overrides:
            values = merge(values, read_setting(override))
        changed = dict(Recipe.from_values(values).flat())
        named = {override.partition("=")[0] for override in overrides}
        assert {key for key in changed if changed[key] != shipped[key]} <= named, variant
        if group == "scan":
            size = changed["network.state_size"], changed["network.directions"]
            assert variant == f"{size[0]} state{'s' * (size[0] > 1)}, {size[1]} directions"
        elif overrides:
            assert changed != shipped, variant


def test_the_shipped_scan_is_the_fast_preset():
    network = Recipe.from_values(read_recipe(ablation.RECIPE)).network
    assert PRESETS["fast"]["network"] == {
        "state_size": network.state_size, "directions": network.directions,
    }  # fmt: skip
