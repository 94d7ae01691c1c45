import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

from model.cli import app
from model.dataset import read_dataset
from model.dataset.survey import survey
from model.images.decoding import OWN_FILES, allow_pixels


def photo(seed, size=96):
    """A picture with structure at every scale, like a photograph."""
    noise = np.random.default_rng(seed).normal(size=(size, size))
    layers = [ndimage.gaussian_filter(noise, sigma) * sigma for sigma in (1, 3, 9)]
    values = np.sum(layers, axis=0)
    values = (values - values.min()) / np.ptp(values) * 255
    return Image.fromarray(values.astype(np.uint8))


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


@pytest.fixture
def parts(tmp_path):
    """24 good training images, 4 good test images, 2 defects with masks: no problem."""
    bolt = tmp_path / "parts" / "bolt"
    for seed in range(24):
        save(photo(seed), bolt / f"train/good/{seed:03}.png")
    for seed in range(24, 28):
        save(photo(seed), bolt / f"test/good/{seed:03}.png")
    for seed in (28, 29):
        save(photo(seed), bolt / f"test/crack/{seed:03}.png")
        mask = Image.new("L", (96, 96))
        mask.paste(255, (10, 10, 20, 20))
        save(mask, bolt / f"ground_truth/crack/{seed:03}_mask.png")
    return bolt.parent


def found_in(root):
    return survey(read_dataset(root, check_files=False), root)


def problems(root):
    return {problem.kind: problem for problem in found_in(root).problems}


def test_a_sound_data_set_is_counted_and_has_no_problems(parts):
    surveyed = found_in(parts)
    assert (surveyed.problems, surveyed.spoiled, surveyed.layout) == ([], False, "mvtec")
    bolt = surveyed.categories["bolt"]
    assert (bolt.train, bolt.held_out, bolt.test_good) == (24, 0, 4)
    assert (bolt.defects, bolt.masks) == ({"crack": 2}, 2)
    assert (bolt.sizes, bolt.modes) == ({"96 x 96": 30}, {"L": 30})
    assert json.loads(json.dumps(surveyed.to_dict()))["spoiled"] is False


def test_unreadable_and_missing_images_spoil(parts):
    content = (parts / "bolt/train/good/000.png").read_bytes()
    (parts / "bolt/train/good/000.png").write_bytes(content[: len(content) // 2])
    (parts / "bolt/train/good/001.png").write_text("no image")
    problem = problems(parts)["unreadable"]
    assert problem.spoils
    assert problem.files == ("bolt/train/good/000.png", "bolt/train/good/001.png")


def test_the_same_pixels_in_training_and_test_spoil_whatever_the_format(parts):
    save(photo(0), parts / "bolt/test/good/copy.bmp")
    problem = problems(parts)["leak"]
    assert problem.spoils
    assert problem.files == ("bolt/train/good/000.png = bolt/test/good/copy.bmp",)


def test_an_image_twice_in_training_is_noted(parts):
    save(photo(0), parts / "bolt/train/good/again.png")
    surveyed = found_in(parts)
    assert [problem.kind for problem in surveyed.problems] == ["repeated"]
    assert not surveyed.spoiled


def test_an_image_that_is_good_and_defective_spoils(parts):
    save(photo(24), parts / "bolt/test/crack/024.png")
    by_kind = problems(parts)
    assert by_kind["contradiction"].spoils
    assert "leak" not in by_kind


@pytest.mark.parametrize("change", ["jpeg", "smaller", "lighter", "blurred"])
def test_a_copy_of_a_training_image_in_the_test_is_seen(parts, change):
    image = photo(3)
    if change == "jpeg":
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=70)
        image = Image.open(buffer)
    elif change == "smaller":
        image = image.resize((80, 80))
    elif change == "lighter":
        image = image.point([min(255, round(20 + 0.9 * level)) for level in range(256)])
    else:
        image = Image.fromarray(ndimage.gaussian_filter(np.asarray(image), 1))
    save(image, parts / "bolt/test/good/copy.png")
    problem = problems(parts)["near leak"]
    assert problem.spoils
    assert problem.files == ("bolt/train/good/003.png = bolt/test/good/copy.png",)


def test_parts_that_all_look_the_same_are_not_called_copies(tmp_path):
    fixture = np.asarray(photo(0)).astype(int)
    for number in range(12):
        noise = np.random.default_rng(number).integers(-3, 4, fixture.shape)
        image = Image.fromarray(np.clip(fixture + noise, 0, 255).astype(np.uint8))
        save(image, tmp_path / f"bolt/{'train' if number % 2 else 'test'}/good/{number}.png")
    by_kind = problems(tmp_path)
    assert "near leak" not in by_kind
    assert "bolt" in by_kind["alike"].text


def test_masks_that_do_not_match_spoil(parts):
    truth = parts / "bolt/ground_truth/crack"
    save(Image.new("L", (48, 96), 255), truth / "028_mask.png")
    assert "48 x 96 px, expected 96 x 96 like its image 028.png" in problems(parts)["mask"].text
    save(Image.new("L", (96, 96)), truth / "028_mask.png")
    assert problems(parts)["empty mask"].files == ("bolt/test/crack/028.png",)
    save(Image.new("L", (96, 96), 255), truth / "028_mask.png")
    assert not problems(parts)["full mask"].spoils
    (truth / "028_mask.png").unlink()
    assert "1 of 2 defective images" in problems(parts)["no mask"].text


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_images_that_show_nothing_spoil(parts, mode, split):
    blank = Image.new(mode, (96, 96), 1)
    save(blank, parts / f"bolt/{split}/good/blank.png")
    problem = problems(parts)["blank"]
    assert problem.spoils
    assert problem.files == (f"bolt/{split}/good/blank.png",)
    assert "1 images are blank" in problem.text


def test_one_picture_again_and_again_spoils(parts):
    for path in sorted((parts / "bolt/train/good").iterdir()):
        save(photo(0), path)
    problem = problems(parts)["one picture"]
    assert problem.spoils
    assert "all 24 good images of bolt" in problem.text


def test_too_few_good_images_spoil(parts):
    for seed in range(1, 24):
        (parts / f"bolt/train/good/{seed:03}.png").unlink()
    assert problems(parts)["too few"].spoils
    save(photo(1), parts / "bolt/train/good/001.png")
    assert not problems(parts)["few"].spoils


def test_a_test_of_one_kind_is_noted(parts):
    for path in (parts / "bolt/test/crack").iterdir():
        path.unlink()
    (parts / "bolt/test/crack").rmdir()
    assert "no defective test images" in problems(parts)["one-sided test"].text


def test_mixed_shapes_and_modes_are_noted(parts):
    save(photo(0).convert("RGB").resize((96, 64)), parts / "bolt/train/good/000.png")
    by_kind = problems(parts)
    assert "L, RGB" in by_kind["modes"].text
    assert "letterbox" in by_kind["shapes"].text
    assert not by_kind["modes"].spoils | by_kind["shapes"].spoils


def test_sixteen_bit_images_of_twelve_bits_spoil_and_full_ones_do_not(parts):
    for path in sorted((parts / "bolt").rglob("[0-9][0-9][0-9].png")):
        values = np.asarray(Image.open(path)).astype(np.uint16) * 16
        save(Image.fromarray(values), path)
    assert "--grey-bits 12" in problems(parts)["dark"].text
    path = parts / "bolt/train/good/000.png"
    save(Image.fromarray(np.asarray(Image.open(path)) * 16), path)
    assert "dark" not in problems(parts)


def test_the_command_prints_a_table_and_fails_where_results_are_spoiled(parts):
    sound = CliRunner().invoke(app, ["data", "check", str(parts)])
    assert sound.exit_code == 0, sound.output
    assert "is read as mvtec" in " ".join(sound.output.split())
    assert "no problems" in sound.output
    save(photo(0), parts / "bolt/test/good/copy.png")
    spoiled = CliRunner().invoke(app, ["data", "check", str(parts)])
    assert spoiled.exit_code == 1
    assert "the same pixels as another" in " ".join(spoiled.output.split())
    listed = CliRunner().invoke(app, ["data", "check", str(parts), "--json"])
    assert listed.exit_code == 1
    assert json.loads(listed.stdout)["problems"][0]["kind"] == "leak"
    unknown = CliRunner().invoke(app, ["data", "check", str(parts), "--layout", "coco"])
    assert unknown.exit_code == 2


def test_the_command_takes_a_limit_of_pixels_and_names_the_file(parts):
    refused = CliRunner().invoke(app, ["data", "check", str(parts), "--max-pixels", "9000"])
    allow_pixels(OWN_FILES.max_pixels)
    assert refused.exit_code == 1
    text = " ".join(refused.output.split())
    assert "30 images cannot be read" in text
    assert "may have 9000 pixels, got 96 x 96 = 9216 (--max-pixels allows more)" in text
