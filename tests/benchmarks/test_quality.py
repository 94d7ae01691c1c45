"""The benchmark of quality: fair splits, true intervals, and a run that goes on."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.quality.__main__ import app
from benchmarks.quality.differences import average, stand
from benchmarks.quality.making import check_apart, choose_cells, defects, draw_on_first, make
from benchmarks.quality.measuring import METHODS, NETWORK, PADIM, PATCHCORE
from benchmarks.quality.results import Result, ScoredImages
from benchmarks.quality.running import run, standings
from benchmarks.quality.sets import QUICK, SETS, QualitySet, Role, Source, Subset
from benchmarks.quality.sheet import draw_sheet
from benchmarks.quality.surfaces import (
    GAP,
    PHOTOGRAPHS,
    TRAIN_ROWS,
    Window,
    areas,
    draw_window,
    look,
)
from benchmarks.quality.table import markdown, terminal
from demo.solar import read_split
from demo.splits import RUN_LENGTH
from model.errors import DatasetError
from model.synthetic import VISIBLE, Kind, Size, Strength
from tests import tiny

TINY = QualitySet(
    "tiny", Role.DEVELOPMENT, Source.TURNED, ("brick",), 6, shape=(64, 64), tested=(4, 6)
)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_no_pixel_is_seen_in_training_and_in_tests(turned, wide):
    if turned and wide:
        turned = False
    picture = np.full((512, 512, 3), 127, np.uint8)
    picture[:TRAIN_ROWS], picture[TRAIN_ROWS + GAP :] = 0, 255
    rng = np.random.default_rng(0)
    shape = (32, 128) if wide else (48, 48)
    windows = {
        split: [draw_window(area, 512, wide, turned, rng) for _ in range(60)]
        for split, area in areas(512).items()
    }
    assert {int(look(picture, w, shape).max()) for w in windows["train"]} == {0}
    assert {int(look(picture, w, shape).min()) for w in windows["test"]} == {255}
    check_apart(windows["train"], windows["test"])


def test_overlapping_windows_are_refused():
    above, below = Window((100, 200), (160, 160)), Window((179, 200), (160, 160))
    with pytest.raises(AssertionError):
        check_apart([above], [below])
    with pytest.raises(AssertionError):
        check_apart([Window((100, 200), (100, 100), 0.8)], [Window((250, 200), (160, 160))])


def test_final_sets_share_no_photograph_and_no_defective_cell_with_development():
    categories = {
        role: {c for s in SETS.values() if s.role is role for c in s.categories} for role in Role
    }
    shared = categories[Role.DEVELOPMENT] & categories[Role.FINAL]
    assert shared == {"solar-mono", "solar-poly"}
    defective = {role: set() for role in Role}
    for a_set in SETS.values():
        if a_set.source in (Source.CELLS, Source.GROUPED):
            cells = choose_cells(a_set, seed=1)
            defective[a_set.role] |= {c.file for c in cells if not c.is_good}
            trained = {c.file for c in cells if c.split == "train"}
            assert trained.isdisjoint(c.file for c in cells if c.split == "test")
    assert defective[Role.DEVELOPMENT]
    assert defective[Role.FINAL]
    assert defective[Role.DEVELOPMENT].isdisjoint(defective[Role.FINAL])


def test_grouped_cells_of_a_run_are_on_one_side():
    files = sorted(cell.file for cell in read_split())
    runs = {file: place // RUN_LENGTH for place, file in enumerate(files)}
    cells = choose_cells(SETS["cells-grouped-200"], seed=2)
    sides = {
        split: {runs[c.file] for c in cells if c.split == split} for split in ("train", "test")
    }
    assert sides["train"]
    assert sides["test"]
    assert sides["train"].isdisjoint(sides["test"])


def test_the_sets_cover_what_they_must():
    assert {SETS[name].role for name in QUICK} == {Role.DEVELOPMENT}
    roles = [a_set.role for a_set in Subset.ALL.sets()]
    assert roles == sorted(roles)  # development first, final last
    for role in Role:
        chosen = [a_set for a_set in SETS.values() if a_set.role is role]
        assert {a_set.good for a_set in chosen} == {10, 20, 50, 200}
        assert {a_set.shape for a_set in chosen} == {(256, 256), (128, 512)}
        assert {a_set.size for a_set in chosen} == set(Size)
        assert max(len(a_set.categories) for a_set in chosen) > 1
    assert {c for a in SETS.values() for c in a.categories} >= set(PHOTOGRAPHS)
    assert len(set(defects(27))) == len(Kind) * len(Strength)


def test_a_run_goes_on_and_ends_in_a_table(tmp_path):
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(tiny.recipe(tmp_path).to_yaml())
    arguments = [TINY], [1], str(recipe), tmp_path / "results"
    console = Console(quiet=True)
    assert standings(*arguments) == []
    assert run(*arguments, console) == []
    files = sorted((tmp_path / "results").rglob("*"))
    results = [path for path in files if path.is_file()]
    assert [path.stem for path in results] == sorted(m.lower() for m in METHODS)
    before = [path.read_bytes() for path in results]
    times = [path.stat().st_mtime_ns for path in results]
    assert run(*arguments, console) == []
    assert [path.stat().st_mtime_ns for path in results] == times
    assert [path.stem for path in results][1] == PADIM.lower()
    results[1].unlink()  # PaDiM's: the network need not be trained again
    assert run(*arguments, console) == []
    again = [json.loads(path.read_text())["categories"] for path in results]
    assert again == [json.loads(content)["categories"] for content in before]
    (standing,) = standings(*arguments)
    assert set(standing.figures) == set(METHODS)
    assert set(standing.differences) == {"image_auroc", "aupro"}
    assert standing.figures[NETWORK].train_s > 0
    assert "| tiny (1) |" in markdown([standing])
    Console(quiet=True, width=80).print(terminal([standing]))
    longer = tmp_path / "longer.yaml"
    longer.write_text(recipe.read_text().replace("epochs: 3", "epochs: 4"))
    assert standings([TINY], [1], str(longer), tmp_path / "results") == []


def test_the_seed_determines_every_image(tmp_path):
    contents = []
    for seed in (1, 1, 2):
        make(TINY, seed, tmp_path)
        files = sorted(tmp_path.rglob("*.png"))
        contents.append([path.read_bytes() for path in files])
    assert contents[0] == contents[1]
    assert set(contents[0]).isdisjoint(contents[2])
    masks = sorted((tmp_path / "brick/ground_truth").rglob("*_mask.png"))
    assert len(masks) == TINY.tested[1]
    shutil.rmtree(tmp_path)


def scored(method, scores, defective, draws=0):
    defects = ["crack" if bad else "good" for bad in defective]
    tested = ScoredImages(draws, defects, {"max": scores.tolist()}, {"max": 1.0}, None, None)
    identity = {"set": {"name": "simulated", "role": "development"}}
    return Result(identity, method, {"part": tested}, 1.0, 1.0, {})


def simulated(seed, ahead=0.0):
    """One set on which the network and both baselines see the same parts with their own noise."""
    rng = np.random.default_rng(seed)
    defective = np.arange(90) >= 40
    hard = rng.normal(size=90) + defective
    shifts = {NETWORK: ahead, PADIM: -3.0, PATCHCORE: 0.0}
    return stand(
        {
            method: [
                scored(method, hard + rng.normal(size=90) + shift * defective, defective, seed)
            ]
            for method, shift in shifts.items()
        }
    )


def test_paired_intervals_contain_the_truth():
    differences = [simulated(seed).differences["image_auroc"] for seed in range(40)]
    assert {difference.best for difference in differences} == {PATCHCORE}
    contained = sum(d.interval[0] <= 0 <= d.interval[1] for d in differences)
    assert 34 <= contained <= 40


def test_a_clear_lead_is_seen_and_the_mean_of_sets_is_surer():
    leads = [simulated(seed, ahead=1.5) for seed in range(4)]
    intervals = [lead.differences["image_auroc"].interval for lead in leads]
    assert all(low > 0 for low, _ in intervals)
    mean = average(leads, "image_auroc")
    width = mean.interval[1] - mean.interval[0]
    assert width < min(high - low for low, high in intervals)
    assert average(leads, "aupro") is None


def test_the_sheet_shows_each_kind(tmp_path):
    draw_sheet(tmp_path / "sheet.png", Size.ORDINARY, seed=1, photographs=("grass",))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 160 * len(Kind)
        assert sheet.height > 160 * (len(Strength) + 1)


def test_an_unknown_set_is_named():
    refused = CliRunner().invoke(app, ["run", "--sets", "brik"])
    assert refused.exit_code == 2
    assert "brik" in refused.output


def test_a_defect_that_an_image_does_not_show_is_drawn_on_the_next_one():
    blank = np.full((64, 64, 3), 128, np.uint8)
    textured = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    seed = (0, 0, 0)
    drawn = draw_on_first([blank, textured], Kind.SMEAR, Strength.STRONG, seed, Size.ORDINARY)
    changed = np.abs(drawn.image.astype(int) - textured).max(axis=-1) > VISIBLE
    assert drawn.mask[changed].all() and changed.any()
    with pytest.raises(DatasetError, match="cannot draw the defect 'smear'"):
        draw_on_first([blank], Kind.SMEAR, Strength.STRONG, seed, Size.ORDINARY)
