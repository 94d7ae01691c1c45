"""The commands, run like a user does, on tiny parts and a tiny network."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from datetime import datetime
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from model.checkpoints.checkpoint import CheckpointStore
from model.checkpoints.golden import check
from model.checkpoints.store import read_report
from model.cli import app
from model.cli.train.values import read_depths, read_size, read_weights
from model.dataset import read_dataset
from model.errors import ConfigError
from model.evaluation.identity import identify
from model.evaluation.measuring import columns, image_metrics
from model.evaluation.score_files import read_scores
from model.recorded import recorded
from model.runtimes.torch import open_checkpoint
from model.training.progress.monitor import Monitor
from model.training.recipe.recipe import PRESETS, Recipe
from tests import tiny
from tests.published import state_dict

ROOT = Path(__file__).parents[3]
TINY = ["--image-size", "64", "--directions", "2", "--depths", "2,2,2,2", "--state-size", "2"]
RECIPE = [
    "--recipe", "paper-lite", "--epochs", "2", "--batch-size", "4", "--loss", "cosine",
    "--no-self-check",
]  # fmt: skip


def write_images(folder, count, seed, size=(80, 64)):
    folder.mkdir(parents=True)
    for number in range(count):
        values = np.random.default_rng((seed, number)).integers(90, 110, (*size, 3), np.uint8)
        Image.fromarray(values).save(folder / f"{number:03}.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for seed, category in enumerate(("bolt", "nut")):
        write_images(root / category / "train" / "good", 6, 10 * seed)
        write_images(root / category / "held_out" / "good", 3, 10 * seed + 1)
        write_images(root / category / "test" / "good", 2, 10 * seed + 2)
        write_images(root / category / "test" / "scratch", 2, 10 * seed + 3)
    return root


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A store with the checkpoint "parts"; change only copies of it."""
    folder = tmp_path_factory.mktemp("trained")
    weights, runs = folder / "weights", folder / "runs"
    return weights, run(
        "train", data, "--name", "parts", *TINY, *RECIPE, "--weights", weights, "--runs", runs
    )


@pytest.fixture
def store(trained, tmp_path):
    return Path(shutil.copytree(trained[0], tmp_path / "weights"))


def manifest(store, name="parts"):
    return CheckpointStore(store).load(name).manifest


def one_line(result, after=None):
    """Return the only line on stderr, or the only one after a line that contains `after`."""
    lines = result.stderr.splitlines()
    if after is not None:
        assert after in lines.pop(0)
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    return lines[0]


def test_help_names_every_command_and_loads_no_torch():
    code = (
        "import sys; from typer.testing import CliRunner; from model.cli import app; "
        "print(CliRunner().invoke(app, ['--help']).output); assert 'torch' not in sys.modules"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for command in (
        "train",
        "advise",
        "calibrate",
        "golden",
        "evaluate",
        "compare",
        "predict",
        "import",
        "benchmark",
        "reproduce",
    ):
        assert f" {command} " in answer.stdout


@pytest.mark.parametrize(
    "command",
    [
        "train",
        "advise",
        "calibrate",
        "golden",
        "evaluate",
        "compare",
        "predict",
        "import",
        "benchmark",
        "reproduce",
    ],
)
def test_every_commands_help_has_an_example(command):
    assert f"mambaad {command} " in run(command, "--help").output


def test_train_saves_a_calibrated_checkpoint_and_says_so(trained):
    weights, result = trained
    saved = manifest(weights)
    assert saved.categories == ("bolt", "nut")
    assert saved.training["recipe"]["loss"] == "cosine"
    assert saved.network["state_size"] == 2
    assert "12 good images to train on, 6 held out, of bolt, nut" in result.stderr
    assert "epoch 2/2" in result.stderr
    assert "bolt: 3 held-out good images cannot promise 1 %" in result.stdout
    assert "saved parts, version 1" in result.stdout


def test_ctrl_c_leaves_a_checkpoint_and_resume_finishes(data, tmp_path, monkeypatch):
    class Interrupted(Monitor):
        def step(self, place, loss):
            if place.step == 2:
                os.kill(os.getpid(), signal.SIGINT)

    command = ["train", data, "--name", "parts", *TINY, *RECIPE]
    command += ["--weights", tmp_path / "weights", "--runs", tmp_path / "runs"]
    with monkeypatch.context() as patch:
        patch.setattr("model.training.progress.monitor.watch", lambda _: nullcontext(Interrupted()))
        stopped = run(*command, code=130)
    assert "stopping after this step" in stopped.stderr
    assert "stopped in epoch 1 of 2: continue with the same command and --resume" in stopped.stdout
    assert manifest(tmp_path / "weights").categories == ("bolt", "nut")

    assert "--resume" in one_line(run(*command, code=2), after="held out")
    run(*command, "--resume")
    assert manifest(tmp_path / "weights").version == "2"
    assert manifest(tmp_path / "weights").training["finished"]


def test_paper_lite_is_the_paper_but_for_the_encoder_and_the_epochs():
    command = ["train", "data", "--name", "parts", "--print-recipe", "--recipe", "paper-lite"]
    printed = run(*command).stdout
    default, paper = (
        dict(r.flat()) for r in (Recipe.from_values(yaml.safe_load(printed)), Recipe())
    )
    differing = {k for k in paper if default[k] != paper[k]}
    assert differing == {"description", "network.encoder", "training.epochs"}


def test_options_and_settings_change_a_recipe_and_nothing_else():
    command = ["train", "data", "--name", "parts", "--print-recipe", "--recipe", "fast"]
    changes = ["--epochs", "3", "--image-size", "64", "--set", "hard_mining=0.9", "--set", "seed=5"]
    plain, changed = (
        dict(Recipe.from_values(yaml.safe_load(run(*command, *more).stdout)).flat())
        for more in ([], changes)
    )
    assert {k: v for k, v in changed.items() if plain[k] != v} == {
        "training.epochs": 3,
        "training.seed": 5,
        "training.emphasis.hard_mining": 0.9,
        "network.image_size": [64, 64],
    }


@pytest.mark.parametrize("recipe", ["paper-lite", "quality"])
def test_a_preset_changes_the_scan_of_any_recipe_and_yields_to_options(recipe):
    command = ["train", "data", "--name", "parts", "--print-recipe", "--recipe", recipe]
    preset = PRESETS["fast"]["network"]
    plain, fast, mixed = (
        dict(Recipe.from_values(yaml.safe_load(run(*command, *more).stdout)).flat())
        for more in ([], ["--preset", "fast"], ["--preset", "fast", "--directions", "4"])
    )
    assert {k: v for k, v in fast.items() if plain[k] != v} == {
        f"network.{name}": value for name, value in preset.items()
    }
    assert mixed == fast | {"network.directions": 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--depths", "2,2"], "network.depths: expected 4 values, got"),
        (["--recipe", "fats"], "did you mean fast?"),
        (["--preset", "fsat"], "did you mean fast?"),
        (["--set", "epohcs=3"], "did you mean epochs?"),
        (["--set", "loss_weights=0,1,1"], "scale_weights"),
        (["--batch-size", "5", "--patience", "-1"], "patience"),
        (["--depths", "two"], "--depths"),
        (["--image-size", "64px"], "--image-size"),
        (["--loss", "l1"], "loss must be one of"),
        (["--score-statistic", "median"], "statistic"),
        (["--encoder-weights", "nowhere.pth"], "nowhere.pth"),
        (["--category", "screw"], "screw"),
        (["--device", "tpu"], "tpu"),
        (["--resume"], "nothing to resume"),
        (["--image-size", "64x128", "--scan", "zorder"], "hilbert, sweep, scan and zigzag exist"),
        (["--tile", "--standardise"], "--set distance=cosine and without --standardise"),
    ],
)
def test_train_says_what_is_wrong_in_one_line(data, tmp_path, options, message):
    folders = ["--weights", tmp_path / "weights", "--runs", tmp_path / "runs"]
    result = run("train", data, "--name", "parts", *TINY, *RECIPE, *folders, *options, code=2)
    *progress, error = result.stderr.splitlines()
    assert error.startswith("mambaad: ")
    assert message in error
    assert len(progress) <= 1
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("text", ["", "x64", "64x", "64x64x64", "-64"])
def test_sizes_that_are_none_are_refused(text):
    with pytest.raises(ConfigError, match="HEIGHTxWIDTH"):
        read_size(text)


def test_sizes_and_depths_are_read():
    assert read_size("256") == (256, 256)
    assert read_size("128x320") == (128, 320)
    assert read_depths("3,4,6,3") == (3, 4, 6, 3)
    assert read_weights("0,1,2.5") == (0.0, 1.0, 2.5)
    for text in ("1,2", "1,2,x", ""):
        with pytest.raises(ConfigError, match="--scale-weights must be three numbers"):
            read_weights(text)


def test_calibrate_uses_the_images_held_out_in_training(data, store):
    before = CheckpointStore(store).load("parts").calibrations
    run("calibrate", "parts", data, "--alpha", "0.5", "--weights", store)
    after = CheckpointStore(store).load("parts").calibrations
    assert {c.good_images for c in after.values()} == {3}
    assert all(after[c].image_threshold < before[c].image_threshold for c in before)


def test_calibrate_on_new_images_leaves_other_categories_alone(data, store):
    before = CheckpointStore(store).load("parts").calibrations
    folder = data / "bolt" / "test" / "good"
    result = run("calibrate", "parts", "--images", folder, "--category", "bolt", "--weights", store)
    after = CheckpointStore(store).load("parts").calibrations
    assert after["bolt"].good_images == 2
    assert after["nut"] == before["nut"]
    assert "nut" not in result.stdout


def test_calibrate_refuses_images_that_were_perhaps_trained_on(data, store, tmp_path):
    other = Path(shutil.copytree(data, tmp_path / "other"))
    shutil.rmtree(other / "bolt" / "held_out")
    result = run("calibrate", "parts", other, "--weights", store, code=2)
    assert "'bolt'" in one_line(result)
    assert "--images" in result.stderr


def test_calibrations_are_numbered_and_can_be_taken_up_again(data, store):
    first = manifest(store).calibrations
    assert manifest(store).calibration_version == 1
    result = run("calibrate", "parts", data, "--alpha", "0.5", "--weights", store)
    assert "has calibration 2" in result.stdout
    second = manifest(store)
    assert second.calibration_version == 2
    assert second.calibrations != first
    assert "good bolt, 3 images" in second.calibration_log[-1].source
    listed = run("calibrate", "parts", "--use", "1", "--weights", store)
    assert "calibration 3" in listed.stdout
    assert "calibration 1 again" in listed.stdout
    assert manifest(store).calibrations == first
    assert [entry.version for entry in manifest(store).calibration_log] == [1, 2, 3]
    unknown = run("calibrate", "parts", "--use", "9", "--weights", store, code=2)
    assert "no calibration 9; have: 1, 2, 3" in one_line(unknown)


def test_the_log_of_a_new_checkpoint_is_its_own_calibration(store):
    assert "calibration 1, the original" in run(
        "calibrate", "parts", "--log", "--weights", store
    ).stdout  # fmt: skip


def test_calibrate_keeps_to_an_escape_rate_of_defective_examples(data, store, tmp_path):
    defects = tmp_path / "rejects"
    for category in ("bolt", "nut"):
        shutil.copytree(data / category / "test" / "scratch", defects / category / "scratch")
    arguments = ["calibrate", "parts", data, "--weights", store, "--defects", defects]
    result = run(*arguments, "--target-escape-rate", "0.3", "--no-review")
    point = manifest(store).calibrations["bolt"]["operating_point"]
    assert (point["defect_images"], point["escapes"]) == (2, 0)
    assert "an escape rate of at most 30 %" in result.stdout
    costs = ["--cost-false-reject", "2", "--cost-escape", "500"]
    assert "a false reject 2, an escape 500" in run(*arguments, *costs).stdout
    assert "defective bolt, 2 images" in manifest(store).calibration_log[-1].source


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--f1-max"], "--defects DIR needs"),
        (["--defects", "x"], "--defects DIR needs"),
        (["--defects", "x", "--f1-max", "--target-escape-rate", "0.1"], "give only one of"),
        (["--defects", "x", "--cost-escape", "5"], "--cost-escape alone is not enough"),
        (["--defects", "x", "--cost-review", "5"], "--cost-review needs"),
        (["--defects", "x", "--no-review"], "--no-review needs --target-escape-rate"),
        (["--defects", "x", "--f1-max"], "--defects: no folder x"),
    ],
)
def test_half_a_goal_is_refused(data, store, options, message):
    result = run("calibrate", "parts", data, *options, "--weights", store, code=2)
    assert message in one_line(result)


def test_calibrate_takes_data_or_images(store, data):
    for arguments in ([], [data, "--images", data]):
        result = run("calibrate", "parts", *arguments, "--weights", store, code=2)
        assert "either DATA or --images" in one_line(result)


def test_training_keeps_golden_images_of_what_was_held_out(trained):
    checkpoint = CheckpointStore(trained[0]).load("parts")
    golden = checkpoint.golden
    assert {category: len(golden_images.images) for category, golden_images in golden.items()} == {
        "bolt": 3, "nut": 3
    }  # fmt: skip
    assert check(golden, open_checkpoint(checkpoint).raw_scores) <= 1


def test_golden_images_make_a_new_version_with_the_same_weights(data, store):
    before = manifest(store)
    folder = data / "bolt" / "test" / "good"
    result = run("golden", "parts", "--images", folder, "--category", "bolt", "--weights", store)
    assert "saved parts, version 2, with 2 golden images" in result.stdout
    after = manifest(store)
    assert (len(after.golden["bolt"].raw_scores), after.version) == (2, "2")
    assert after.golden["nut"] == before.golden["nut"]
    same = ("network.safetensors", after.encoder_file)
    assert [after.sha256[file] for file in same] == [before.sha256[file] for file in same]
    assert after.calibrations == before.calibrations
    assert "either DATA or --images" in one_line(run("golden", "parts", code=2))


def test_evaluate_prints_records_and_writes_json(data, store, tmp_path):
    out = tmp_path / "results" / "out.json"
    result = run("evaluate", "parts", data, "--json", out, "--weights", store)
    assert "bolt" in result.stdout
    assert "mean" in result.stdout
    written = json.loads(out.read_text())
    assert written["checkpoint"] == {"name": "parts", "version": "1"}
    assert written["categories"]["nut"]["defective"] == 2
    assert manifest(store).metrics["mean"] == written["mean"]


def test_evaluate_writes_a_report_and_sets_other_methods_beside(data, store, tmp_path):
    page, out = tmp_path / "report.html", tmp_path / "found.json"
    options = ["--weights", store, "--category", "bolt", "--no-record", "--json", out]
    result = run("evaluate", "parts", data, "--baselines", "--report", page, *options)
    assert "PatchCore" in result.stdout
    assert f"wrote {page}" in result.stdout
    text = page.read_text("utf-8")
    assert "Other methods" in text
    assert manifest(store).sha256["network.safetensors"] in text
    assert read_report(store / "parts" / "1") is None  # --no-record
    rows = json.loads(out.read_text())["baselines"]["categories"]["bolt"]
    assert {row["method"] for row in rows} == {"MambaAD", "PaDiM", "PatchCore"}


def test_evaluate_judges_criteria_by_its_exit_code_and_writes_scores(data, store, tmp_path):
    out, scores, page = tmp_path / "out.json", tmp_path / "scores.csv", tmp_path / "report.html"
    options = ["--weights", store, "--json", out, "--scores", scores, "--report", page]
    met = ["--accept", "escapes<=100%", "--accept", "false-rejects<=100% at 95%"]
    result = run("evaluate", "parts", data, *options, *met, "--cost-escape", "50")
    assert "PASS: 4 of 4 criteria are met" in result.stdout
    written = json.loads(out.read_text())
    assert written["acceptance"]["verdict"] == "PASS"
    assert written["rates"]["nut"]["operation"]["cost"]["escape"] == 50
    assert manifest(store).metrics["acceptance"] == written["acceptance"]
    assert f"sha256 {written['test_data']['sha256']}" in page.read_text("utf-8")

    read = read_scores(scores)
    assert str(read[0].sample.path) == "bolt/test/good/000.png"
    for category in ("bolt", "nut"):
        defective, raw, rejected = columns([r for r in read if r.sample.category == category])
        metrics = image_metrics(defective, raw)
        assert metrics.items() <= written["categories"][category].items()
        rate = written["categories"][category]["false_reject_rate"]
        assert float(np.mean(rejected[~defective])) == rate

    # The data has no masks, so nothing can be said about AUPRO.
    result = run("evaluate", "parts", data, *options, *met, "--accept", "aupro>=0%", code=3)
    assert "FAIL  bolt: aupro >= 0% - cannot be measured: no defects with a mask" in result.stdout
    assert "FAIL: 4 of 6 criteria are met" in result.stdout
    assert json.loads(out.read_text())["acceptance"]["verdict"] == "FAIL"
    assert "Not all accept criteria are met" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--accept", "recall>=90%"], "not a criterion; allowed: escapes<=2%, escapes[KIND]<=5%"),
        (["--scores", "scores.xlsx"], "--scores writes a .csv or a .json file"),
        (["--defective-share", "2"], "--defective-share is between 0 and 1"),
    ],
)
def test_evaluate_refuses_options_before_it_reads_anything(tmp_path, options, message):
    result = run("evaluate", "none", tmp_path / "no-data", *options, code=2)
    assert message in one_line(result)


def test_evaluate_refuses_a_kind_of_defect_that_the_data_has_not(data, store):
    options = ["--weights", store, "--accept", "escapes[crak]<=5%"]
    result = run("evaluate", "parts", data, *options, code=2)
    assert "no test image shows 'crak'; the kinds of defect are scratch" in one_line(result)


def test_a_report_of_a_run_that_is_not_there_is_an_error(data, store, tmp_path):
    options = ["--report", tmp_path / "report.html", "--run", tmp_path, "--weights", store]
    assert "no run in" in one_line(run("evaluate", "parts", data, *options, code=2))


def test_compare_lists_what_is_decided_differently(data, store, tmp_path):
    checkpoint = CheckpointStore(store).load("parts")
    loose = {
        category: calibration.with_thresholds(image=-1.0)
        for category, calibration in checkpoint.calibrations.items()
    }
    saved = CheckpointStore(store).save(
        "strict",
        checkpoint.network,
        checkpoint.preprocessing,
        checkpoint.scoring,
        loose,
        training={},
        metrics={},
        baselines=checkpoint.baselines,
    )
    page, out = tmp_path / "both.html", tmp_path / "both.json"
    options = ["--weights", store, "--category", "nut", "--report", page, "--json", out]
    result = run("compare", "parts/1", "strict", data, *options)
    comparison = json.loads(out.read_text())
    assert (comparison["first"], comparison["second"]) == ("parts/1", f"strict/{saved.version}")
    # For `strict` everything is NG: good parts get worse, defective ones better.
    changes = {(change["defect"], change["better"]) for change in comparison["changes"]}
    assert changes <= {("good", False), ("scratch", True)}
    assert f"{len(comparison['changes'])} of 4 images have a different decision" in result.stdout
    assert "Changed decisions" in page.read_text("utf-8")
    assert comparison["categories"]["nut"]["image_auroc"]["difference"] == 0
    assert comparison["times"]["device"].startswith("cpu (")
    assert all(ms > 0 for ms in comparison["times"]["image_ms"])
    assert "Time for one image on cpu (" in result.stdout


def test_checkpoints_of_other_categories_cannot_be_compared(data, store):
    checkpoint = CheckpointStore(store).load("parts")
    only = {"nut": checkpoint.calibrations["nut"]}
    CheckpointStore(store).save(
        "nuts",
        checkpoint.network,
        checkpoint.preprocessing,
        checkpoint.scoring,
        only,
        training={},
        metrics={},
        baselines=checkpoint.baselines,
    )
    result = run("compare", "parts", "nuts", data, "--weights", store, "--category", "bolt", code=2)
    assert "both checkpoints must be calibrated for bolt: parts has bolt, nut, nuts nut" in (
        one_line(result)
    )


def test_evaluate_leaves_the_manifest_alone_when_asked(data, store):
    run("evaluate", "parts", data, "--no-record", "--category", "nut", "--weights", store)
    assert manifest(store).metrics == {}


def test_evaluations_one_after_the_other_keep_each_others_results(data, store, tmp_path):
    other = tmp_path / "april"
    shutil.copytree(data / "nut", other / "nut")
    next((other / "nut" / "test" / "good").iterdir()).unlink()
    for folder, category in ((data, "bolt"), (data, "nut"), (other, "nut")):
        run("evaluate", "parts", folder, "--category", category, "--weights", store)
    evaluations = recorded(manifest(store).metrics)
    names = [(e["evaluated"]["data"], *e["categories"]) for e in evaluations]
    assert names == [("april", "nut"), (data.name, "nut"), (data.name, "bolt")]
    about = evaluations[0]["evaluated"]
    test_images = read_dataset(other, ["nut"]).test
    assert about["categories"]["nut"] == identify(test_images, other).to_dict()
    assert about["calibration"] == 1
    assert datetime.fromisoformat(about["date"]).tzinfo is not None
    assert about["software"]
    assert str(tmp_path) not in json.dumps(manifest(store).metrics)

    # All of the first data again, in one evaluation: its older results go.
    run("evaluate", "parts", data, "--weights", store)
    evaluations = recorded(manifest(store).metrics)
    assert [[*e["categories"]] for e in evaluations] == [["bolt", "nut"], ["nut"]]
    run("calibrate", "parts", data, "--category", "nut", "--weights", store)
    evaluations = recorded(manifest(store).metrics)
    assert [[*e["categories"]] for e in evaluations] == [["bolt"]]


def test_calibrating_again_drops_rates_that_are_no_longer_true(data, store):
    run("evaluate", "parts", data, "--weights", store)
    run("calibrate", "parts", data, "--weights", store)
    assert manifest(store).metrics == {}


def test_predict_decides_and_draws(data, store, tmp_path):
    images = sorted((data / "bolt" / "test" / "scratch").glob("*.png"))
    bright = tmp_path / "bright.png"
    values = pixels(images[0]).copy()
    values[20:50, 20:50] = np.random.default_rng(0).integers(0, 256, (30, 30, 3))
    Image.fromarray(values).save(bright)
    result = run(
        "predict", "parts", *images, bright, "--category", "bolt",
        "--output", tmp_path / "out", "--batch-size", "2", "--weights", store,
    )  # fmt: skip
    heading, *lines = result.stdout.splitlines()
    assert heading.split() == ["decision", "score", "raw", "score", "threshold", "engine", "image"]
    assert {" ".join(line.split()[4:6]) for line in lines} == {"torch, float32"}
    assert [line.split()[-1] for line in lines] == [str(path) for path in (*images, bright)]
    assert {line.split()[0] for line in lines} <= {"OK", "NG"}
    for path in (*images, bright):
        picture = pixels(tmp_path / "out" / path.name)
        assert picture.shape == pixels(path).shape == (80, 64, 3)


def predict_json(store, *arguments, code=0):
    result = run("predict", *arguments, "--json", "--weights", store, code=code)
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_predict_as_json_is_consistent(data, store):
    image = next((data / "nut" / "test" / "good").glob("*.png"))
    (prediction,) = predict_json(store, "parts", image, "--category", "nut")
    assert prediction["image"] == str(image)
    assert prediction["engine"] == "torch, float32"
    assert (prediction["decision"] == "NG") == (prediction["raw_score"] > prediction["threshold"])
    assert (prediction["decision"] == "NG") == (prediction["score"] > 0.5)


def test_fail_on_ng_follows_the_decision(data, store):
    image = next((data / "bolt" / "test" / "good").glob("*.png"))
    checkpoints = CheckpointStore(store)
    loaded = checkpoints.load("parts")
    raw = predict_json(store, "parts", image, "--category", "bolt")[0]["raw_score"]
    for threshold, code in ((raw * 1.01, 0), (raw * 0.99, 1)):
        moved = loaded.calibrations["bolt"].to_dict() | {"image_threshold": threshold}
        calibration = type(loaded.calibrations["bolt"]).from_dict(moved)
        checkpoints.update(loaded, calibrations={"bolt": calibration})
        arguments = ("parts", image, "--category", "bolt")
        (prediction,) = predict_json(store, *arguments, "--fail-on-ng", code=code)
        assert prediction["decision"] == ("NG" if code else "OK")
        predict_json(store, *arguments)


def test_predict_says_what_is_wrong_in_one_line(data, store, tmp_path):
    image = next((data / "bolt" / "test" / "good").glob("*.png"))
    (tmp_path / "one.png").write_bytes(image.read_bytes())
    for arguments, message in (
        (("parts", image), "no --category given; 'parts' has: bolt, nut"),
        (("parts", image, "--category", "screw"), "no category 'screw'"),
        (("none", image), "no checkpoint 'none'"),
        (("parts", tmp_path, "--category", "screw"), "no category 'screw'"),
        (("parts", store / "none*.png", "--category", "bolt"), "no image matches"),
        (("parts", image, "--category", "bolt", "--output", image.parent), "overwrite"),
    ):
        assert message in one_line(run("predict", *arguments, "--weights", store, code=2))


def test_a_bad_file_does_not_stop_the_others(data, store, tmp_path):
    images = sorted((data / "bolt" / "test" / "good").glob("*.png"))
    broken = tmp_path / "broken.png"
    broken.write_bytes(images[0].read_bytes()[:200])
    arguments = ["parts", images[0], broken, tmp_path / "gone.png", images[1]]
    options = ["--category", "bolt", "--output", tmp_path / "out", "--weights", store]
    result = run("predict", *arguments, *options, code=2)
    decisions = [line.split()[0] for line in result.stdout.splitlines()[1:] if line[0] != " "]
    assert [decision == "UNDECIDED" for decision in decisions] == [False, True, True, False]
    assert "no image file" in result.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000.png", "001.png"]
    predictions = predict_json(store, *arguments, "--category", "bolt", "--fail-on-ng", code=2)
    assert (predictions[1]["decision"], predictions[1]["error"]["kind"]) == (
        "UNDECIDED",
        "ImageError",
    )
    assert "raw_score" in predictions[3]


def test_predict_takes_folders_and_patterns_and_keeps_sub_folders_apart(data, store, tmp_path):
    folder = data / "bolt" / "test"
    names = [f"{kind}/{number:03}.png" for kind in ("good", "scratch") for number in (0, 1)]
    for number, argument in enumerate((folder, folder / "*" / "*.png")):
        out = tmp_path / str(number)
        options = ["--category", "bolt", "--output", out, "--weights", store]
        listed = run("predict", "parts", argument, *options).stdout.splitlines()[1:]
        assert [line.split()[-1] for line in listed] == [str(folder / name) for name in names]
        assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png")) == names


def test_a_heatmap_that_cannot_be_written_is_told(data, store, tmp_path):
    (tmp_path / "file").write_text("no folder")
    image = data / "bolt" / "test" / "good" / "000.png"
    options = ["--category", "bolt", "--output", tmp_path / "file", "--weights", store]
    assert "file is a file" in one_line(run("predict", "parts", image, *options, code=2))


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A line's folder: its own words, a name with an umlaut, file names that are not UTF-8."""
    root = tmp_path_factory.mktemp("odd") / "Zelle grün"
    for seed, (place, count) in enumerate({"Train/OK": 6, "Test/OK": 2, "Test/NG": 2}.items()):
        write_images(root / place, count, seed, (64, 64))
        for path in sorted((root / place).iterdir()):
            path.rename(path.with_name(os.fsdecode(b"gr\xfcn-" + os.fsencode(path.name))))
    (root / "Train/OK/900.png").symlink_to(root / "nowhere.png")
    return root


def test_odd_names_are_trained_on_evaluated_and_predicted(odd, tmp_path):
    weights, out = tmp_path / "weights", tmp_path / "out.json"
    options = [*tiny.options(tmp_path), "--weights", weights, "--runs", tmp_path / "runs"]
    trained = run("train", odd, "--name", "cells", *RECIPE, *options)
    assert "category 'Zelle grün' is renamed to Zelle-gruen" in trained.stderr
    assert "skipped: 1 broken links: missing images" in trained.stderr
    learned = manifest(weights, "cells").training
    assert learned["category_names"] == {"Zelle-gruen": "Zelle grün"}
    assert learned["images"]["train"]["Zelle-gruen"].startswith("5 images")
    page = tmp_path / "report.html"
    run("evaluate", "cells", odd, "--json", out, "--report", page, "--weights", weights)
    assert json.loads(out.read_text())["categories"]["Zelle-gruen"]["defective"] == 2
    assert page.read_text("utf-8")
    run("calibrate", "cells", odd, "--weights", weights, "--alpha", "0.5")
    options = ["--category", "Zelle grün", "--output", tmp_path / "maps", "--weights", weights]
    predicted = run("predict", "cells", odd / "Test", *options)
    assert "gr\\udcfcn-000.png" in predicted.stdout
    assert len(list((tmp_path / "maps").rglob("*.png"))) == 4


def test_odd_names_are_checked(odd):
    result = run("data", "check", odd, code=1)
    text = " ".join(result.output.split())
    assert "is read as folders" in text
    assert "spoils: 1 skipped: broken links: missing images" in text
    assert "category 'Zelle grün' is renamed to Zelle-gruen" in text
    checked = json.loads(run("data", "check", odd, "--json", code=1).stdout)
    assert checked["names"] == {"Zelle-gruen": "Zelle grün"}
    assert checked["passed_over"] == {"broken links: missing images": ["Train/OK/900.png"]}


def test_words_are_given_on_every_command_that_reads_data(data, store, tmp_path):
    root = tmp_path / "bolt"
    for name, source in (("frei", "train/good"), ("kratzer", "test/scratch")):
        shutil.copytree(data / "bolt" / source, root / name)
    words = ["--good", "frei", "--defective", "kratzer"]
    assert "--good NAME" in one_line(run("data", "check", root, code=2))
    assert "kratzer" in run("data", "check", root, *words, "--json").stdout
    options = ["--category", "bolt", "--weights", store]
    run("evaluate", "parts", root, *words, *options, "--no-record")
    run("compare", "parts", "parts", root, *words, *options)
    refused = run("calibrate", "parts", root, *words, *options, code=2)
    assert "are not those of the training" in one_line(refused)
    both = run("data", "check", root, "--good", "frei", "--defective", "frei", code=2)
    assert "both name 'frei'" in one_line(both)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    path = tmp_path_factory.mktemp("published") / "net.pth"
    torch.save({"net": state_dict("hilbert", 2, (2, 2, 2, 2))}, path)
    return path


def test_an_import_without_images_cannot_decide_until_calibrated(published, data, tmp_path):
    weights = tmp_path / "weights"
    result = run("import", published, "--name", "net", "--weights", weights)
    assert "cannot decide yet: run mambaad calibrate net" in result.stdout
    assert manifest(weights, "net").categories == ()
    assert manifest(weights, "net").training["imported_from"] == "net.pth"
    assert set(manifest(weights, "net").golden) == {"synthetic"}

    image = data / "bolt" / "test" / "good" / "000.png"
    undecided = run("predict", "net", image, "--weights", weights, code=2)
    assert "mambaad calibrate net" in one_line(undecided)
    unknown = run("calibrate", "net", data, "--weights", weights, code=2)
    assert "was not trained here" in one_line(unknown)

    folder = data / "bolt" / "held_out" / "good"
    run("calibrate", "net", "--images", folder, "--category", "bolt", "--weights", weights)
    run("predict", "net", image, "--weights", weights)


def test_an_import_calibrates_at_once(published, data, tmp_path):
    weights = tmp_path / "weights"
    images = ["--category", "bolt", "--calibrate-images", data / "bolt" / "held_out"]
    result = run("import", published, "--name", "net", *images, "--weights", weights)
    assert manifest(weights, "net").categories == ("bolt",)
    assert "bolt: 3 held-out good images" in result.stdout


def test_import_says_what_is_wrong_in_one_line(published, tmp_path):
    weights = tmp_path / "weights"
    junk = tmp_path / "junk.pth"
    junk.write_bytes(b"junk")
    one_line(run("import", junk, "--name", "net", "--weights", weights, code=2))
    half = run(
        "import", published, "--name", "net", "--category", "bolt", "--weights", weights, code=2
    )
    assert "or neither" in one_line(half)
    assert not weights.exists()


def test_benchmark_prints_and_writes_json(store, tmp_path):
    out = tmp_path / "timing.json"
    result = run(
        "benchmark", "--checkpoint", "parts", "--batch-size", "2", "--repeats", "2",
        "--json", out, "--weights", store,
    )  # fmt: skip
    assert "parts 1: batch 2, 2 repeats" in result.stdout
    assert json.loads(out.read_text())["batch_size"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "either --checkpoint"),
        (["--config", "paper", "--checkpoint", "parts"], "either --checkpoint"),
        (["--config", "small"], "must be paper"),
    ],
)
def test_benchmark_says_what_is_wrong_in_one_line(options, message):
    assert message in one_line(run("benchmark", *options, code=2))


@pytest.mark.parametrize("kind", ["random", "text", "empty", "folder", "pickle", "other", "none"])
def test_import_says_of_a_file_that_is_none_what_it_is(tmp_path, kind):
    file = tmp_path / "net.pth"
    match kind:
        case "random":
            file.write_bytes(np.random.default_rng(0).bytes(4000))
        case "text":
            file.write_text("Not found\n")
        case "empty":
            file.write_bytes(b"")
        case "folder":
            file.mkdir()
        case "pickle":
            file.write_bytes(pickle.dumps({"net": [Path("x")]}))
        case "other":
            torch.save({"net": {"conv.weight": torch.ones(2)}}, file)
    error = one_line(run("import", file, "--name", "net", "--weights", tmp_path / "w", code=2))
    assert error.startswith("mambaad: ")
    messages = {
        "random": "nothing that torch knows", "text": "but text", "empty": "is empty",
        "folder": "is a folder", "pickle": "something else than tensors",
        "other": "no MambaAD decoder", "none": "no weights file",
    }  # fmt: skip
    assert messages[kind] in error
    assert not (tmp_path / "w").exists()


def test_the_paper_recipe_without_a_network_fails_before_any_work(data, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folders = ["--weights", tmp_path / "w", "--runs", tmp_path / "runs"]
    command = ["train", data, "--name", "parts", "--recipe", "paper", *folders]
    error = one_line(run(*command, code=2))
    assert "--encoder-weights FILE" in error
    assert "resnet34" in error
    assert not list(tmp_path.iterdir())


def test_evaluate_has_compared_the_test_images_and_says_so(data, store, tmp_path):
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    result = run("evaluate", "parts", data, "--json", out, "--report", page, "--weights", store)
    sentence = "None of these test images was in training or calibration"
    assert sentence in result.stdout
    assert "warning" not in result.stdout
    assert json.loads(out.read_text())["test_images"] == {
        "checked": True, "not_checked": None, "seen": []
    }  # fmt: skip
    assert "that neither training nor calibration has seen, as a comparison" in page.read_text()
    assert read_report(store / "parts" / "1") == page.read_bytes()


def test_evaluate_warns_of_test_images_that_were_trained_on(data, store, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(data / "bolt" / "test", other / "bolt" / "test")
    shutil.copytree(data / "bolt" / "train", other / "bolt" / "train")
    stolen = data / "bolt" / "train" / "good" / "000.png"
    shutil.copy(stolen, other / "bolt" / "test" / "good" / "renamed.png")
    with Image.open(data / "bolt" / "held_out" / "good" / "001.png") as image:
        image.save(other / "bolt" / "test" / "good" / "stored-anew.bmp")
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    options = ["--category", "bolt", "--json", out, "--report", page, "--weights", store]
    result = run("evaluate", "parts", other, *options)
    assert "warning: 2 of these 6 test images were in training or calibration" in result.stdout
    for text in ("1 held out in training", "1 trained on", "renamed.png", "stored-anew.bmp"):
        assert text in result.stdout
        assert text in page.read_text("utf-8")
    assert "neither training nor calibration has seen" not in page.read_text("utf-8")
    seen = {
        Path(entry["image"]).name for entry in json.loads(out.read_text())["test_images"]["seen"]
    }
    assert seen == {"renamed.png", "stored-anew.bmp"}
    assert manifest(store).metrics["test_images"] == {"checked": True, "seen": 2}


def test_images_that_set_thresholds_later_count_too_and_only_while_they_do(data, store, tmp_path):
    defects = tmp_path / "rejects"
    shutil.copytree(data / "bolt" / "test" / "scratch", defects / "scratch")
    good = data / "bolt" / "test" / "good"
    options = ["--images", good, "--category", "bolt", "--defects", defects, "--f1-max"]
    run("calibrate", "parts", *options, "--force", "--weights", store)
    evaluate = ["evaluate", "parts", data, "--no-record", "--weights", store]
    result = run(*evaluate)
    assert "warning: 4 of these 8 test images" in result.stdout
    assert "2 calibrated with, as defective, 2 calibrated with, as good" in result.stdout
    assert len(list((store / "parts" / "1").glob("images-*.json"))) == 1

    page = run("compare", "parts", "parts", data, "--category", "bolt", "--weights", store)
    assert "warning: parts/1: 4 of these 4 test images" in page.stdout
    saved = run("golden", "parts", "--images", good, "--category", "bolt", "--weights", store)
    assert "version 2" in saved.stdout
    assert "4 of these 8 test images" in run(*evaluate).stdout
    run("calibrate", "parts", "--use", "1", "--version", "1", "--weights", store)
    assert "None of these test images" in run(*evaluate, "--version", "1").stdout


@pytest.mark.parametrize("loss", ["no list", "altered", "gone"])
def test_without_a_list_nothing_is_claimed(data, store, tmp_path, loss):
    folder = store / "parts" / "1"
    (listed,) = folder.glob("images-*.json")
    if loss == "no list":
        values = json.loads((folder / "manifest.json").read_text())
        del values["training"]["image_list"]
        (folder / "manifest.json").write_text(json.dumps(values))
    elif loss == "altered":
        listed.write_bytes(listed.read_bytes() + b" ")
    else:
        listed.unlink()
    page = tmp_path / "page.html"
    options = ["--category", "bolt", "--report", page, "--weights", store]
    result = run("evaluate", "parts", data, *options)
    assert "warning: Not checked whether these test images" in result.stdout
    assert "Not checked whether these test images" in page.read_text("utf-8")
    assert "neither training nor calibration has seen" not in page.read_text("utf-8")
    run("calibrate", "parts", data, "--weights", store)
    again = run("evaluate", "parts", data, "--weights", store)
    assert "does not list its training images" in again.stdout


def test_calibrate_refuses_images_that_are_not_like_those_of_before(data, store, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for number in range(4):
        values = np.random.default_rng(number).integers(0, 256, (80, 64, 3), np.uint8)
        Image.fromarray(values).save(other / f"{number}.png")
    before = manifest(store)
    arguments = ["calibrate", "parts", "--images", other, "--category", "bolt", "--weights", store]
    error = one_line(run(*arguments, code=2))
    for text in ("'bolt'", "median raw score", "expected", "--force", "Nothing was"):
        assert text in error
    assert f"{before.calibrations['bolt']['image_threshold']:.6g}" in error
    assert manifest(store) == before
    forced = run(*arguments, "--force")
    assert "(was " in forced.stdout
    assert manifest(store).calibration_version == 2


def test_alpha_stays_the_checkpoints_own_and_the_log_lists_it_with_the_goal(data, store, tmp_path):
    run("calibrate", "parts", data, "--alpha", "0.25", "--category", "bolt", "--weights", store)
    run("calibrate", "parts", data, "--weights", store)
    alphas = {c: v["alpha"] for c, v in manifest(store).calibrations.items()}
    assert alphas == {"bolt": 0.25, "nut": 0.01}
    defects = tmp_path / "rejects"
    for category in ("bolt", "nut"):
        shutil.copytree(data / category / "test" / "scratch", defects / category)
    run("calibrate", "parts", data, "--defects", defects, "--f1-max", "--weights", store)
    lines = run("calibrate", "parts", "--log", "--weights", store).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert text.count("alpha 0.25") == 3
    assert text.count("goal: the highest F1") == 2
    first = run("calibrate", "parts", "--log", "--weights", ROOT / "weights", code=2)
    assert "no checkpoint 'parts'" in one_line(first)
    shipped = run("calibrate", "solar", "--log", "--weights", ROOT / "weights")
    assert "alpha 0.05" in shipped.stdout


def test_compare_lists_all_changes_when_asked(data, store):
    checkpoint = CheckpointStore(store).load("parts")
    strict = {c: k.with_thresholds(image=-1.0) for c, k in checkpoint.calibrations.items()}
    CheckpointStore(store).save(
        "strict", checkpoint.network, checkpoint.preprocessing, checkpoint.scoring, strict,
        training={}, metrics={},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("model.cli.evaluate.compare"), "_LISTED", 1)
        few = run("compare", "parts", "strict", data, "--weights", store)
        every = run("compare", "parts", "strict", data, "--all", "--weights", store)
    count = int(few.stdout.split(" of 8 images")[0].split()[-1])
    assert count > 1
    assert f"and {count - 1} more: --all lists them" in few.stdout
    assert every.stdout.count(" -> ") == 2 * count
    assert "more: --all" not in every.stdout
