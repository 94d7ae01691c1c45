"""`mambaad reproduce`: our figures beside the paper's, and the differences in method."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from model.checkpoints.checkpoint import CheckpointStore
from model.cli import app
from model.cli.evaluate.reproduction import read_published
from model.dataset import Dataset, Sample
from model.errors import DatasetError
from model.evaluation.paper import PAPER_METRICS, PUBLISHED, published
from model.training.recipe.departures import departures
from model.training.recipe.recipe import Recipe, merge, nest, read_recipe
from tests.published import state_dict

TINY = {
    "recipe": "fast",
    "settings": ["image_size=64", "directions=2", "state_size=2", "epochs=1", "batch_size=4"],
}


def write_set(root, category="screw", masks=True):
    rng = np.random.default_rng(3)

    def save(path, values):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)

    for number in range(6):
        good = rng.integers(90, 110, (64, 64, 3), np.uint8)
        save(root / category / f"train/good/{number:03}.png", good)
    for number in range(3):
        image = rng.integers(90, 110, (64, 64, 3), np.uint8)
        save(root / category / f"test/good/{number:03}.png", image)
        mask = np.zeros((64, 64), np.uint8)
        mask[20:40, 20:40] = 255
        bad = image.copy()
        bad[mask > 0] = 250
        save(root / category / f"test/scratch/{number:03}.png", bad)
        if masks:
            save(root / category / f"ground_truth/scratch/{number:03}_mask.png", mask)
    return root


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def train_options(folder):
    settings = [word for text in TINY["settings"] for word in ("--set", text)]
    places = ["--weights", folder / "weights", "--runs", folder / "runs"]
    return ["--recipe", TINY["recipe"], *settings, *places]


def text_of(result):
    return " ".join(result.stdout.split())


def test_training_by_a_recipe_ends_in_the_papers_table_and_says_what_differs(tmp_path):
    data = write_set(tmp_path / "data")
    page, out = tmp_path / "r.html", tmp_path / "r.json"
    outputs = ["--report", page, "--json", out]
    result = run("reproduce", "mvtec", "--data", data, *train_options(tmp_path), *outputs)
    assert "1 of the 15 categories of MVTec-AD" in text_of(result)
    assert "encoder tf_efficientnet_lite0 (paper: resnet34)" in text_of(result)
    assert "epochs 1 (paper: 1000)" in text_of(result)

    written = json.loads(out.read_text())
    assert written["checkpoint"] == {"name": "reproduce-mvtec", "version": "1"}
    assert written["paper"]["pixel_f1_max"] == pytest.approx(0.592)
    for name in PAPER_METRICS:
        points = 100 * (written["mean"][name] - written["paper"][name])
        assert written["difference_points"][name] == pytest.approx(points)
        assert f"{points:+.1f}" in result.stdout
    assert written["categories"]["screw"]["defective"] == 3

    text = page.read_text("utf-8")
    assert "The thresholds are stand-ins" in text
    assert "What the threshold promises" not in text
    assert "good test images were rejected" not in text
    assert "were rejected:" not in text
    assert '<th scope="col">False rejects</th>' not in text

    manifest = CheckpointStore(tmp_path / "weights").load("reproduce-mvtec").manifest
    assert manifest.training["images"]["train"]["screw"].startswith("6 images")  # all of them
    assert manifest.calibrations == {}  # no promise from images that were trained on

    again = ["--checkpoint", "reproduce-mvtec/1", "--weights", tmp_path / "weights"]
    (data / "screw/train/good/000.png").unlink()
    result = run("reproduce", "mvtec", "--data", data, *again)
    assert "Not trained on exactly the train split" in text_of(result)


@pytest.mark.slow
def test_a_published_checkpoint_is_read_and_not_stored(tmp_path):
    data = write_set(tmp_path / "data", "gasket")
    file = tmp_path / "net.pth"
    torch.save({"net": state_dict("hilbert", 2, (2, 2, 2, 2))}, file)
    options = ["--checkpoint", file, "--weights", tmp_path / "weights"]
    result = run("reproduce", "mvtec", "--data", data, *options)
    assert "This is not MVTec-AD, which has no gasket" in text_of(result)
    assert "directions 2 (paper: 8); depths 2, 2, 2, 2 (paper: 3, 4, 6, 3)" in text_of(result)
    assert "Trained elsewhere (net.pth)" in text_of(result)
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["cifar"], "expected a data set of the paper"),
        (["mvtec"], "either --checkpoint FILE|NAME or --recipe"),
        (["mvtec", "--recipe", "fast", "--checkpoint", "x"], "either --checkpoint"),
        (["mvtec", "--checkpoint", "x", "--set", "epochs=1"], "--set changes a recipe"),
        (["mvtec", "--checkpoint", "x.pth"], "no checkpoint file x.pth"),
        (["mvtec", "--checkpoint", "none"], "no checkpoint 'none'"),
        (["visa", "--recipe", "paper"], "is not in VisA layout: expected split_csv"),
        (["real-iad", "--recipe", "paper"], "is not in Real-IAD layout"),
        (["mvtec", "--recipe", "papre"], "did you mean paper?"),
        (["mvtec", "--recipe", "paper", "--category", "bolt"], "no category bolt"),
    ],
)
def test_what_cannot_be_reproduced_is_one_clear_line(tmp_path, options, message):
    data = write_set(tmp_path / "data")
    result = run(
        "reproduce", options[0], "--data", data, *options[1:],
        "--weights", tmp_path / "weights", code=2,
    )  # fmt: skip
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_set_without_masks_is_not_as_published(tmp_path):
    data = write_set(tmp_path / "data", masks=False)
    result = run("reproduce", "mvtec", "--data", data, "--recipe", "fast", code=2)
    assert "screw needs good training images" in result.stderr


def as_visa(mvtec, root):
    table = ["object,split,label,image,mask"]
    for split, label, folder in (
        ("train", "normal", "train/good"),
        ("test", "normal", "test/good"),
        ("test", "anomaly", "test/scratch"),
    ):
        for path in sorted((mvtec / "screw" / folder).iterdir()):
            image = f"candle/Data/Images/{split}-{label}-{path.name}"
            mask = f"candle/Data/Masks/{path.name}" if label == "anomaly" else ""
            table.append(f"candle,{split},{label},{image},{mask}")
            place_at(path, root / image)
            if mask:
                truth = mvtec / f"screw/ground_truth/scratch/{path.stem}_mask.png"
                place_at(truth, root / mask)
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\n".join(table) + "\n")


def as_real_iad(mvtec, root):
    entries = {"train": [], "test": []}
    for split, kind, folder in (
        ("train", "OK", "train/good"),
        ("test", "OK", "test/good"),
        ("test", "HS", "test/scratch"),
    ):
        for path in sorted((mvtec / "screw" / folder).iterdir()):
            image = f"{kind}/{split}/{path.name}"
            mask = image.replace(".png", "_mask.png") if kind == "HS" else None
            entries[split].append({"anomaly_class": kind, "image_path": image, "mask_path": mask})
            place_at(path, root / "realiad_256/mint" / image)
            if mask:
                truth = mvtec / f"screw/ground_truth/scratch/{path.stem}_mask.png"
                place_at(truth, root / "realiad_256/mint" / mask)
    values = {"meta": {"prefix": "mint/", "normal_class": "OK"}, **entries}
    (root / "realiad_jsons").mkdir()
    (root / "realiad_jsons/mint.json").write_text(json.dumps(values))


def place_at(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())


@pytest.mark.parametrize(
    ("name", "write", "said_of_it"),
    [("visa", as_visa, "1 of the 12 categories"), ("real-iad", as_real_iad, "1 of the 30")],
)
def test_visa_and_real_iad_are_read_as_they_are_published(tmp_path, name, write, said_of_it):
    write(write_set(tmp_path / "mvtec"), tmp_path / "set")
    question = SimpleNamespace(data=tmp_path / "set", categories=None, local_root=None)
    paper = published(name)
    dataset = read_published(question, paper)
    assert (len(dataset.train), len(dataset.test)) == (6, 6)
    assert all(sample.mask.is_file() for sample in dataset.test if not sample.is_good)
    (note,) = paper.departures(dataset)
    assert note.startswith(said_of_it)


def paper_parts():
    recipe = Recipe.from_values(read_recipe("paper"))
    return recipe.network.to_dict(), recipe.scoring.to_dict(), {}, recipe.training.to_dict()


def test_the_papers_recipe_departs_in_nothing_and_paper_100_in_its_epochs():
    network, scoring, preprocessing, training = paper_parts()
    as_kept = training | {"learning_rate": 0.005, "seed": 5}
    assert departures(network, scoring, preprocessing, as_kept) == []
    assert departures(network, scoring, preprocessing, None) == []
    shorter = Recipe.from_values(read_recipe("paper-100")).training.to_dict()
    shorter |= {"learning_rate": 0.005}
    assert departures(network, scoring, preprocessing, shorter) == ["epochs 100 (paper: 1000)"]


def test_every_choice_of_another_recipe_is_a_departure():
    values = merge(read_recipe("paper"), nest("training.augmentation.hflip", True))
    recipe = Recipe.from_values(merge(values, nest("scoring.sigma", 2.0)))
    actual = departures(
        recipe.network.to_dict() | {"image_size": (320, 320)},
        recipe.scoring.to_dict(),
        {"resize": "tile"},
        recipe.training.to_dict() | {"learning_rate": 0.005},
    )
    assert actual == [
        "image_size 320, 320 (paper: 256, 256)",
        "resize tile (paper: stretch)",
        "sigma 2.0 (paper: 4.0)",
        "hflip True (paper: False)",
    ]


def complete_set(paper, root):
    train, good, defective = paper.images
    first = paper.categories[0]

    def made(count, defect="good"):
        return [Sample(root / f"{n}", first, defect) for n in range(count)]

    others = [Sample(root / "x", category, "good") for category in paper.categories[1:]]
    extra = len(others)
    return Dataset(made(train - extra) + others, made(good) + made(defective, "bent"))


@pytest.mark.parametrize("name", ["mvtec", "visa"])
def test_the_set_itself_departs_in_nothing(name, tmp_path):
    paper = published(name)
    dataset = complete_set(paper, tmp_path)
    assert paper.departures(dataset) == []
    fewer = replace(dataset, test=dataset.test[1:])
    (note,) = paper.departures(fewer)
    assert f"{paper.images[1] - 1} good and {paper.images[2]} defective" in note


def test_the_papers_sets_are_whole():
    assert {name: len(paper.categories) for name, paper in PUBLISHED.items()} == {
        "mvtec": 15, "visa": 12, "real-iad": 30
    }  # fmt: skip
    with pytest.raises(DatasetError, match="got 'mvtec-ad'"):
        published("mvtec-ad")
