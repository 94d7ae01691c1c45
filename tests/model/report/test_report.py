import base64
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.calibration.calibration import Calibration
from model.checkpoints.manifest import Manifest
from model.criteria import parse
from model.dataset import Sample, read_mvtec
from model.errors import DatasetError, ModelError
from model.evaluation import Change, compare, evaluate
from model.evaluation.assessment import assess
from model.evaluation.identity import identify
from model.evaluation.operation import Prices
from model.evaluation.rivalry import Rivalry, Standing
from model.evaluation.timing import Times
from model.evaluation.untouched import Untouched
from model.images.preprocess import Preprocessing
from model.inference.detector import Detector
from model.inspection import AnomalyMap, Decision, ImageSize, Inspection
from model.report import Pair, Subject, charts, write_comparison, write_report
from model.report.facts import promises, training_curve
from model.report.page import css_text
from model.report.pictures import Nearness, near_map
from model.scoring.scores import Scoring

SIZE = (16, 32)
SHA = "0123456789abcdef" * 4


class Brightness:
    """An engine whose map is the image's first channel, 0 to 1."""

    device = "cpu"
    library = "torch"
    precision = "float32"
    nbytes = 0

    def compare(self, images, lap):
        return images[:, 0].astype(np.float32) / 255

    def answers(self):
        return True

    def release(self):
        return None


def detector(threshold, category="bolt"):
    preprocessing = Preprocessing(image_size=SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
    calibration = Calibration(threshold, threshold, 0.2, 0.2, 0.05, 60)
    return Detector(Brightness(), preprocessing, Scoring(), {category: calibration})


def manifest(name):
    return Manifest.from_values(
        {
            "format_version": 1,
            "name": name,
            "version": "1",
            "created": "2026-01-01T00:00:00+00:00",
            "network": {"encoder": "resnet34", "scan": "hilbert"},
            "preprocessing": {"image_size": [16, 32]},
            "scoring": {"statistic": "max"},
            "calibrations": {},
            "encoder_file": "resnet34-01234567.safetensors",
            "sha256": {"network.safetensors": SHA, "resnet34-01234567.safetensors": SHA},
            "training": {},
            "metrics": {},
            "software": {},
            "license": None,
            "notice": None,
        }
    )


def write(path, base, spot=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(SIZE, base, dtype=np.uint8)
    if spot is not None:
        pixels[:4, :8] = spot
    Image.fromarray(pixels).save(path)


@pytest.fixture
def samples(tmp_path):
    """Six good parts, one of them too bright; three cracks with masks; two dents."""
    bolt = tmp_path / "bolt"
    for n, base in enumerate((10, 20, 30, 40, 50, 200)):
        write(bolt / f"test/good/{n}.png", base)
    for n, spot in enumerate((250, 240, 60)):
        write(bolt / f"test/crack/c{n}.png", 5, spot)
        write(bolt / f"ground_truth/crack/c{n}_mask.png", 0, 255)
    write(bolt / "test/a <b>dent/d&0.png", 10, 255)
    write(bolt / "test/a <b>dent/<i>.png", 10, 70)
    return read_mvtec(tmp_path).test


class Page(HTMLParser):
    """The links, tags and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def report(tmp_path, samples, **more):
    reported = detector(0.5)
    subject = Subject(reported, manifest("parts"), evaluate(reported, samples), tmp_path, **more)
    file = tmp_path / "out" / "report.html"
    write_report(file, subject)
    return file.read_text("utf-8")


def test_the_page_needs_nothing_but_itself(tmp_path, samples):
    text = report(tmp_path, samples)
    page = Page(text)
    for attributes in page.named("a"):
        assert attributes["href"].startswith("#")
    assert all(attributes["src"].startswith("data:image/") for attributes in page.named("img"))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(|@import|https?://", text)
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {attributes["href"][1:] for attributes in page.named("a")} <= ids


def test_every_picture_can_be_seen_and_is_described(tmp_path, samples):
    text = report(tmp_path, samples)
    pictures = Page(text).named("img")
    for attributes in pictures:
        data = base64.b64decode(attributes["src"].partition(",")[2])
        with Image.open(BytesIO(data)) as image:
            image.load()
        assert attributes["alt"]
    # One false reject and two escapes; all three cracks with masks, and both dents.
    with_masks = 3 + 1
    assert len(pictures) == 2 * (1 + 2 + 3 + 2) + with_masks
    for drawn in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        assert ElementTree.fromstring(drawn).find("title").text
    assert "<html lang=" in text
    assert Page(text).named("h1")


def test_the_page_says_what_happened(tmp_path, samples):
    page = Page(report(tmp_path, samples))
    text = page.text
    assert "5.png good, NG at" in text
    assert "c2.png crack, OK at" in text
    assert "Worst false rejects" in text
    assert "Worst escapes" in text
    assert "Of 6 good test images 1 were rejected: 16.7 %" in text
    assert "Of good parts like the 60 held out, at most 5 % are rejected on average" in text
    assert SHA in text
    assert "parts, version 1" in text
    assert "32 x 16 (11)" in text
    assert "AUPRO 30 %" in text


def assessed(tmp_path, samples, *criteria, prices=None, ng_above=0.5):
    result = evaluate(detector(ng_above), samples)
    judged = [parse(text) for text in criteria]
    return report(tmp_path, samples, assessment=assess(result, tmp_path, prices, judged, 100))


def test_the_block_to_sign_has_verdict_identity_and_room_for_signatures(tmp_path, samples):
    criteria = ("escapes<=40%", "escapes[crack]<=30%", "false-rejects<=20% at 95%", "aupro>=0%")
    text = assessed(tmp_path, samples, *criteria)
    shown = Page(text).text
    # Two of five defects escape, one of three cracks; one of six good parts is rejected.
    assert "FAIL Not all accept criteria are met." in shown
    assert "bolt escapes <= 40% 40.0 – 5 * PASS" in shown  # noqa: RUF001 - a dash, typeset
    assert "bolt escapes[crack] <= 30% 33.3 – 3 * FAIL" in shown  # noqa: RUF001
    assert "bolt false-rejects <= 20% at 95% 16.7 56.4 6 * FAIL" in shown
    assert "* stands on fewer than 30 images" in shown
    assert f"sha256 {identify(samples, tmp_path).sha256}, of 11 images and 3 masks" in shown
    assert "bolt 0.5 none 5" in shown  # thresholds for NG and REVIEW, the target
    for role in ("Prepared by", "Checked by", "Approved by"):
        assert role in shown
    assert (
        "PASS All accept criteria are met." in Page(assessed(tmp_path, samples, *criteria[:1])).text
    )
    assert "this report judges nothing" in Page(assessed(tmp_path, samples)).text


def test_decisions_prices_and_costs_are_in_tables(tmp_path, samples):
    shown = Page(assessed(tmp_path, samples, prices=Prices(2.0, 30.0, 0.1))).text
    assert "good 6 * 5 0 1 NG 16.7 3.0 – 56.4" in shown  # noqa: RUF001 - a dash, typeset
    assert "crack 3 * 1 0 2 OK 33.3" in shown
    assert "all defects 5 * 2 0 3 OK 40.0" in shown
    # No escape: above 50/255, the highest good part below all defects. One good part is above.
    assert f"1 {50 / 255:.6g} 0 of 5 0.0" in shown
    assert "a false reject costs 2 and an escape 30, and 10 % of all parts are defective" in shown
    assert f"in force 0.5 16.7 40.0 {0.9 * 2 / 6 + 0.1 * 30 * 2 / 5:.3g} " in shown
    assert f"lowest cost in the test {50 / 255:.6g} 16.7 0.0 {0.9 * 2 / 6:.3g} " in shown
    # Masks cover 32 of 512 pixels, 6.25 % of the image; two of three cracks are found.
    assert "3–10 3 * 2 66.7" in shown  # noqa: RUF001
    assert ">2/3</text>" in assessed(tmp_path, samples)


def test_a_threshold_for_review_is_marked_and_explained(tmp_path, samples):
    reported = detector(0.5)
    banded = replace(reported.calibrations["bolt"], review_threshold=0.22)
    reported.calibrations["bolt"] = banded
    file = tmp_path / "report.html"
    result = evaluate(reported, samples)
    write_report(file, Subject(reported, manifest("parts"), result, tmp_path))
    text = file.read_text("utf-8")
    assert "threshold for REVIEW" in text
    shown = Page(text).text
    # 60/255 and 70/255 are above 0.22: both former escapes are in REVIEW, and found.
    assert "all defects 5 * 0 2 3 OK 0.0" in shown
    assert "REVIEW counts as OK at the threshold for NG" in shown
    assert "A part in REVIEW counts as OK." in shown
    assert "threshold for REVIEW" not in report(tmp_path, samples)


def test_figures_that_cannot_be_made_are_left_out_with_the_reason(tmp_path, samples):
    good = [sample for sample in samples if sample.is_good]
    text = assessed(tmp_path, good)
    shown = Page(text).text
    assert "Left out: false rejects against escapes, and costs, need both good and" in shown
    assert "Left out: no defective test images." in shown
    assert "The price of fewer escapes" not in shown
    unmarked = [replace(sample, mask=None) for sample in samples]
    text = assessed(tmp_path, unmarked)
    assert "no test image has a mask" in Page(text).text
    assert "Found defects of bolt by size" not in text
    cracks = [sample for sample in samples if not sample.is_good]
    text = Page(assessed(tmp_path, cracks)).text
    assert "Left out: false rejects against escapes" in text
    assert "the median pixel of the same image (no good test images)" in text


def test_captions_have_folders_and_wide_pictures_keep_their_shape(tmp_path, samples):
    text = assessed(tmp_path, samples)
    page = Page(text)
    assert "bolt/test/good/5.png good, NG at" in page.text
    assert "bolt/test/crack/c2.png crack, OK at" in page.text
    assert 'class="case wide"' in text
    for attributes in page.named("img"):
        data = base64.b64decode(attributes["src"].partition(",")[2])
        with Image.open(BytesIO(data)) as image:
            ratio = int(attributes["width"]) / int(attributes["height"])
            assert ratio == pytest.approx(image.width / image.height, rel=0.02)


def test_a_map_shows_what_was_nearly_found():
    values = np.linspace(0.1, 0.5, 64, dtype=np.float32).reshape(8, 8)
    scale = Nearness(0.2, 0.4)
    inspection = Inspection(
        "bolt", Decision.OK, 0.1, 0.1, 0.5, AnomalyMap(values, ImageSize(8, 8), 0.4)
    )
    picture = near_map(Sample(Path("a.png"), "bolt", "crack"), inspection, scale)
    with Image.open(BytesIO(base64.b64decode(picture.uri.partition(",")[2]))) as image:
        grey = np.asarray(image.convert("L")).astype(int)
    assert grey[values < 0.2].max() < 30  # below the median good pixel: black
    assert grey[values > 0.4].min() > 200  # above the threshold: the brightest
    assert 40 < grey[np.abs(values - 0.3) < 0.02].mean() < 200
    assert scale.share(0.3, 0.2) == pytest.approx(0.5)
    assert Nearness(None, 0.4).from_values(values) == pytest.approx(0.3)


def test_a_checkpoints_name_is_no_style(tmp_path, samples):
    assert css_text('a"; } body { x: y') == "a\\22 \\3b  \\7d  body \\7b  x\\3a  y"


def test_names_of_files_and_defects_are_text(tmp_path, samples):
    text = report(tmp_path, samples)
    page = Page(text)
    assert "<b>" not in text
    assert "<i>" not in text
    assert "a <b>dent" in page.text
    assert "<i>.png" in page.text


def test_good_parts_alone_and_the_nearest_to_rejection(tmp_path, samples):
    good = [sample for sample in samples if sample.is_good][:5]
    text = Page(report(tmp_path, good)).text
    assert "No false rejects" in text
    assert "4.png good, OK at" in text
    assert "escapes" not in text.partition("Provenance")[0].partition("What the threshold")[2]


def test_other_methods_and_the_training_curve(tmp_path, samples):
    rows = (
        Standing("MambaAD", "calibrated", {"image_auroc": 0.9, **metrics()}),
        Standing("PaDiM", "top", {"image_auroc": 0.8, **metrics()}, None, 0.1, (0.02, 0.2)),
    )
    curve = {"epoch": [1, 2, 3], "loss": [0.5, 0.3, 0.2], "held_out_loss": [None, 0.4, 0.3]}
    times = {"bolt": {"MambaAD": 8.04, "PaDiM": 3.0}}
    rivalry = Rivalry({"bolt": rows}, times, "cpu (a processor)")
    text = report(tmp_path, samples, rivalry=rivalry, curve=curve)
    shown = Page(text).text
    assert "PaDiM" in shown
    assert "+10.0 +2.0 to +20.0 3.0 70.0" in shown
    assert "milliseconds for one image on cpu (a processor)" in shown
    assert "Loss while training" in text


def metrics():
    names = ("image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "aupro", "aupro_5")
    return dict.fromkeys(names, 0.7)


def test_a_folder_that_refuses_is_an_error(tmp_path, samples):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ModelError, match="cannot write the report"):
        report(tmp_path, samples)


def compared(samples, first=0.5, second=0.22):
    detectors = (detector(first), detector(second))
    evaluations = [evaluate(single, samples) for single in detectors]
    return detectors, compare(*evaluations)


def test_two_checkpoints_pair_by_pair(samples):
    _, comparison = compared(samples)
    differences = comparison.categories["bolt"]
    # The scores are equal and only the threshold differs, so every resampling ranks the same.
    assert differences["image_auroc"].difference == 0
    assert differences["image_auroc"].interval == (0, 0)
    assert not differences["image_auroc"].is_sure
    assert differences["escape_rate"].difference == pytest.approx(-2 / 5)
    assert differences["escape_rate"].interval[1] <= 0
    changed = {change.sample.path.name: change.is_better for change in comparison.changes}
    assert changed == {"c2.png": True, "<i>.png": True}
    assert [c.is_better for c in compared(samples, 0.22, 0.5)[1].changes] == [False, False]
    assert comparison.to_dict()["changes"][0]["decisions"] == ["OK", "NG"]


def test_other_images_cannot_be_compared(samples):
    evaluations = [evaluate(detector(0.5), some) for some in (samples, samples[1:])]
    with pytest.raises(DatasetError, match="the same images"):
        compare(*evaluations)


def test_the_comparison_shows_both_heatmaps(tmp_path, samples):
    detectors, comparison = compared(samples)
    manifests = (manifest("old"), manifest("new"))
    times = Times("cpu (a processor)", (12.34, 5.0))
    pair = Pair(("old", "new"), detectors, manifests, comparison, tmp_path, times)
    file = tmp_path / "both.html"
    write_comparison(file, pair)
    page = Page(file.read_text("utf-8"))
    assert "2 of 11 images have a different decision: 0 worse in new, 2 better" in page.text
    assert [a["alt"] for a in page.named("img")].count("heatmap by old") == 2
    assert len(page.named("img")) == 3 + 4
    assert "on cpu (a processor): old 12.3 ms, new 5.0 ms." in page.text
    assert "c2.png crack, NG at" in page.text


def test_a_histogram_is_drawn_to_scale():
    drawn = charts.histogram("Scores", np.full(4, 0.11), np.array([0.9, 0.91]), 0.5)
    good, defective = re.findall(r'<path d="(M[^"]*)Z"', drawn)
    heights = {
        name: [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", path)]
        for name, path in (("good", good), ("defective", defective))
    }
    assert min(heights["good"]) == min(heights["defective"]) == pytest.approx(12)
    widest = max(float(x) for x, _ in re.findall(r"([\d.]+) ([\d.]+)", good))
    assert widest == pytest.approx(370)


def test_long_curves_are_thinned_and_keep_their_ends():
    x = np.linspace(0, 1, 5000)
    drawn = charts.line_chart("Line", [charts.Line("a", x, x**2)], ("x", "y"))
    path = re.search(r'<path d="(M[^"]*)" fill="none" stroke="#1f6f8b"', drawn)[1]
    points = [tuple(map(float, p.split())) for p in path[1:].split("L")]
    assert len(points) < 500
    assert points[0] == pytest.approx((46, 218))
    assert points[-1] == pytest.approx((370, 12))


def test_what_more_images_would_promise():
    rows = promises(Calibration(1.0, 1.0, 1.0, 1.0, 0.05, 60))
    assert [row.images for row in rows if row.is_ours] == [60]
    bounds = [row.bound for row in rows]
    assert bounds[0] == max(bounds)
    assert bounds[-1] == min(bounds) < 0.06
    assert all(row.rate <= 0.05 for row in rows)


def test_thresholds_that_promise_nothing_or_stand_in_have_no_table_of_promises(tmp_path, samples):
    reported = detector(0.5)
    result = evaluate(reported, samples)
    file = tmp_path / "report.html"
    write_report(file, Subject(reported, manifest("parts"), result, tmp_path))
    assert "Held-out good images" in Page(file.read_text("utf-8")).text

    reported.calibrations["bolt"] = replace(reported.calibrations["bolt"], folds=5)
    write_report(file, Subject(reported, manifest("parts"), result, tmp_path))
    text = Page(file.read_text("utf-8")).text
    assert "Held-out good images" not in text
    assert "5 networks scored 60" in text
    assert "not a promise" in text

    subject = Subject(
        reported, manifest("parts"), result, tmp_path, notes=("Not <this>.",), stand_in=True
    )
    write_report(file, subject)
    text = Page(file.read_text("utf-8")).text
    assert "Not <this>." in text
    assert "What the threshold promises" not in text
    assert "at the calibrated thresholds" not in text


def test_a_checkpoint_without_a_curve_has_none():
    assert training_curve({}) is None
    assert training_curve({"curve": {"epoch": [1], "loss": [0.1]}}) is None


def saturated(samples):
    """Scores far from the threshold: nearly all are 0 or 1."""
    far_off = detector(0.5)
    tight = replace(far_off.calibrations["bolt"], image_scale=0.001)
    far_off.calibrations["bolt"] = tight
    return far_off, evaluate(far_off, samples)


def test_scores_that_are_all_0_or_1_are_drawn_on_the_raw_axis(tmp_path, samples):
    reported, result = saturated(samples)
    assert {round(record.score) for record in result.records} == {0, 1}
    file = tmp_path / "report.html"
    write_report(file, Subject(reported, manifest("parts"), result, tmp_path))
    text = Page(file.read_text("utf-8")).text
    assert "Raw scores of bolt, good and defective images" in text
    assert "Nearly all scores on the scale from 0 to 1 are 0 or 1" in text
    assert "Above 0.5 a part is NG." not in text
    plain = Page(report(tmp_path, samples)).text
    assert "Raw scores of bolt" not in plain
    assert "Above 0.5 a part is NG." in plain


def test_a_histogram_of_raw_scores_is_as_wide_as_they_are():
    good, bad = np.full(4, 3.0), np.array([40.0, 41.0])
    drawn = charts.histogram("Raw", good, bad, 9.26, 5.0, axis=None)
    shown = re.findall(r'<path d="(M[^"]*)Z"', drawn)
    xs = [float(x) for path in shown for x, _ in re.findall(r"([\d.]+) ([\d.]+)", path)]
    assert (min(xs), max(xs)) == pytest.approx((46, 370))
    assert "NG above" in drawn
    assert "review above" in drawn
    assert ">40<" in drawn
    single_score = charts.histogram("Raw", np.full(3, 2.0), np.zeros(0), 2.0, axis=None)
    assert "nan" not in single_score


def test_what_contradicts_the_promise_is_said_at_the_head_and_beside_it(tmp_path, samples):
    reported = detector(0.01)  # every good part is NG
    result = evaluate(reported, samples)
    file = tmp_path / "report.html"
    write_report(file, Subject(reported, manifest("parts"), result, tmp_path))
    page = Page(file.read_text("utf-8"))
    assert page.text.count("bolt: these good test images are not like those that set") == 2
    assert "6 of 6 (100 %) were" in page.text
    assert "not like those" not in Page(report(tmp_path, samples)).text


def test_the_report_signs_only_what_was_compared(tmp_path, samples):
    signed = "neither training nor calibration has seen"
    assert "Not checked whether these test images" in Page(report(tmp_path, samples)).text
    assert signed not in Page(report(tmp_path, samples)).text
    assert signed in Page(report(tmp_path, samples, untouched=Untouched(11))).text
    seen = Untouched(11, ((samples[0], "trained on"),))
    text = Page(report(tmp_path, samples, untouched=seen)).text
    assert "1 of these 11 test images were in training or calibration (1 trained on)" in text
    assert signed not in text


GOOD_TO_WORSE = ["OK", "REVIEW", "NG"]


@pytest.mark.parametrize("first", GOOD_TO_WORSE)
@pytest.mark.parametrize("second", GOOD_TO_WORSE)
def test_review_lies_between_right_and_wrong(samples, first, second):
    if first == second:
        return
    record = evaluate(detector(0.5), samples[:1]).records[0]
    good = next(sample for sample in samples if sample.is_good)
    defective = next(sample for sample in samples if not sample.is_good)
    worse = GOOD_TO_WORSE.index(second) > GOOD_TO_WORSE.index(first)
    for sample, expected in ((good, not worse), (defective, worse)):
        before, after = (
            replace(record, sample=sample, decision=Decision(name)) for name in (first, second)
        )
        assert Change(before, after).is_better is expected
