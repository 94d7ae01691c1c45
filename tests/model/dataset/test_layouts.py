"""Each layout, in the tree of its published data set."""

import json

import numpy as np
import pytest
from PIL import Image

from model.dataset import LAYOUTS, Sample, read_dataset, read_mask, recognised
from model.errors import DatasetError


def summary(dataset, root):
    """Each split's samples as (category, defect, image, mask), paths below the root."""

    def below(path):
        return None if path is None else path.relative_to(root).as_posix()

    return {
        name: [(s.category, s.defect, below(s.path), below(s.mask)) for s in split]
        for name, split in dataset.splits.items()
    }


def test_mpdd_is_read_as_mvtec(tmp_path, picture):
    picture(tmp_path / "bracket_black/train/good/000.png")
    picture(tmp_path / "bracket_black/test/good/000.png")
    picture(tmp_path / "bracket_black/test/hole/000.png")
    picture(tmp_path / "bracket_black/ground_truth/hole/000_mask.png")
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "mvtec"
    truth = "bracket_black/ground_truth/hole/000_mask.png"
    assert summary(dataset, tmp_path) == {
        "train": [("bracket_black", "good", "bracket_black/train/good/000.png", None)],
        "held_out": [],
        "test": [
            ("bracket_black", "good", "bracket_black/test/good/000.png", None),
            ("bracket_black", "hole", "bracket_black/test/hole/000.png", truth),
        ],
    }


def test_images_kept_apart_are_held_out(tmp_path, picture):
    picture(tmp_path / "bolt/train/good/000.png")
    picture(tmp_path / "bolt/held_out/good/001.png")
    assert [s.path.name for s in read_dataset(tmp_path).held_out] == ["001.png"]


def test_btad_has_ok_and_ko(tmp_path, picture):
    picture(tmp_path / "01/train/ok/0000.bmp")
    picture(tmp_path / "01/test/ok/0000.bmp")
    picture(tmp_path / "01/test/ko/0001.bmp")
    picture(tmp_path / "01/ground_truth/ko/0001.png")
    picture(tmp_path / "03/train/ok/0000.bmp")
    picture(tmp_path / "03/test/ko/0001.bmp")
    picture(tmp_path / "03/ground_truth/ko/0001.bmp")
    dataset = read_dataset(tmp_path)
    assert (dataset.layout, dataset.categories) == ("btad", ("01", "03"))
    assert summary(dataset, tmp_path)["test"] == [
        ("01", "ko", "01/test/ko/0001.bmp", "01/ground_truth/ko/0001.png"),
        ("01", "good", "01/test/ok/0000.bmp", None),
        ("03", "ko", "03/test/ko/0001.bmp", "03/ground_truth/ko/0001.bmp"),
    ]
    assert all(s.is_good for s in dataset.train)


def test_mvtec_3d_has_its_colours_in_rgb(tmp_path, picture):
    for kind in ("train/good", "validation/good", "test/good", "test/hole"):
        picture(tmp_path / f"bagel/{kind}/rgb/000.png")
        picture(tmp_path / f"bagel/{kind}/xyz/000.tiff")
    for kind in ("good", "hole"):
        picture(tmp_path / f"bagel/test/{kind}/gt/000.png")
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "mvtec-3d"
    assert summary(dataset, tmp_path) == {
        "train": [("bagel", "good", "bagel/train/good/rgb/000.png", None)],
        "held_out": [("bagel", "good", "bagel/validation/good/rgb/000.png", None)],
        "test": [
            ("bagel", "good", "bagel/test/good/rgb/000.png", None),
            ("bagel", "hole", "bagel/test/hole/rgb/000.png", "bagel/test/hole/gt/000.png"),
        ],
    }


def test_loco_has_several_masks_an_image(tmp_path, picture):
    box = tmp_path / "breakfast_box"
    picture(box / "train/good/000.png")
    picture(box / "validation/good/000.png")
    picture(box / "test/good/000.png")
    for kind in ("logical_anomalies", "structural_anomalies"):
        picture(box / f"test/{kind}/000.png", size=(8, 4))
        for number, column in enumerate((1, 6)):
            mask = np.zeros((4, 8), np.uint8)
            mask[2, column] = 255 - number
            path = box / f"ground_truth/{kind}/000/{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    dataset = read_dataset(tmp_path)
    assert (dataset.layout, len(dataset.train), len(dataset.held_out)) == ("mvtec-loco", 1, 1)
    assert [s.defect for s in dataset.test] == ["good", "logical_anomalies", "structural_anomalies"]
    assert np.argwhere(read_mask(dataset.test[1], (4, 8))).tolist() == [[2, 1], [2, 6]]
    (box / "ground_truth/structural_anomalies/000/000.png").unlink()
    (box / "ground_truth/structural_anomalies/000/001.png").unlink()
    assert read_dataset(tmp_path).test[2].mask is None


def visa(root, picture):
    table = ["object,split,label,image,mask"]
    for number, (split, label) in enumerate(
        [("train", "normal"), ("test", "normal"), ("test", "anomaly"), ("test", "anomaly")]
    ):
        folder = "Normal" if label == "normal" else "Anomaly"
        image = f"candle/Data/Images/{folder}/{number:04}.JPG"
        picture(root / image, size=(8, 4))
        mask = f"candle/Data/Masks/Anomaly/{number:04}.png" if label == "anomaly" else ""
        table.append(f"candle,{split},{label},{image},{mask}")
    for number in (2, 3):
        picture(root / f"candle/Data/Masks/Anomaly/{number:04}.png", value=1, size=(8, 4))
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\n".join(table) + "\n")
    return table


def test_visa_is_read_by_its_table(tmp_path, picture):
    visa(tmp_path, picture)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "visa"
    images, mask = "candle/Data/Images", "candle/Data/Masks/Anomaly/000"
    assert summary(dataset, tmp_path) == {
        "train": [("candle", "good", f"{images}/Normal/0000.JPG", None)],
        "held_out": [],
        "test": [
            ("candle", "good", f"{images}/Normal/0001.JPG", None),
            ("candle", "defective", f"{images}/Anomaly/0002.JPG", f"{mask}2.png"),
            ("candle", "defective", f"{images}/Anomaly/0003.JPG", f"{mask}3.png"),
        ],
    }
    assert read_mask(dataset.test[1], (4, 8)).all()  # labels are small numbers


def test_visa_names_the_kinds_of_defect_where_it_can(tmp_path, picture):
    visa(tmp_path, picture)
    (tmp_path / "candle/image_anno.csv").write_text(
        "image,label,mask\n"
        "candle/Data/Images/Normal/0000.JPG,normal,\n"
        'candle/Data/Images/Anomaly/0002.JPG,"chunk of wax missing,other",x.png\n'
    )
    kinds = [s.defect for s in read_dataset(tmp_path).test]
    assert kinds == ["good", "chunk of wax missing,other", "defective"]


def test_a_list_that_names_missing_files_is_an_error(tmp_path, picture):
    visa(tmp_path, picture)
    (tmp_path / "candle/Data/Images/Anomaly/0002.JPG").unlink()
    with pytest.raises(DatasetError, match=r"files that do not exist: .*0002\.JPG$"):
        read_dataset(tmp_path)
    assert len(read_dataset(tmp_path, check_files=False).test) == 3


def real_iad(root, picture, place="realiad_jsons/realiad_jsons"):
    good, bad = "OK/S0001/audiojack_0001_OK_C1.jpg", "NG/QS/S0102/audiojack_0102_QS_C1.jpg"
    truth = "NG/QS/S0102/audiojack_0102_QS_C1.png"

    def entry(kind, image, mask=None):
        return {
            "category": "audiojack",
            "anomaly_class": kind,
            "image_path": image,
            "mask_path": mask,
        }

    values = {
        "meta": {"prefix": "audiojack/", "normal_class": "OK", "pre_transform": {}},
        "train": [entry("OK", good)],
        "test": [entry("QS", bad, truth)],
    }
    folder = root / place
    folder.mkdir(parents=True)
    (folder / "audiojack.json").write_text(json.dumps(values))
    for size in (256, 1024):
        for name in (good, bad, truth):
            picture(root / f"realiad_{size}/audiojack/{name}")


@pytest.mark.parametrize("place", ["realiad_jsons", "realiad_jsons/realiad_jsons"])
def test_real_iad_is_read_by_its_json(tmp_path, picture, place):
    real_iad(tmp_path, picture, place)
    dataset = read_dataset(tmp_path)
    assert (dataset.layout, dataset.categories) == ("real-iad", ("audiojack",))
    assert summary(dataset, tmp_path.resolve())["test"] == [
        (
            "audiojack",
            "QS",
            "realiad_256/audiojack/NG/QS/S0102/audiojack_0102_QS_C1.jpg",
            "realiad_256/audiojack/NG/QS/S0102/audiojack_0102_QS_C1.png",
        )
    ]
    larger = read_dataset(tmp_path, local_root=tmp_path / "realiad_1024")
    assert "realiad_1024" in str(larger.train[0].path)


def test_another_split_of_real_iad_is_read_by_its_folder_or_file(tmp_path, picture):
    real_iad(tmp_path, picture, "realiad_jsons_fuiad_0.4")
    folder = tmp_path / "realiad_jsons_fuiad_0.4"
    assert read_dataset(folder).layout == "real-iad"
    assert read_dataset(folder / "audiojack.json") == read_dataset(folder)


def test_real_iad_without_images_says_where_they_should_be(tmp_path, picture):
    real_iad(tmp_path, picture)
    for size in (256, 1024):
        (tmp_path / f"realiad_{size}").rename(tmp_path / f"images_{size}")
    with pytest.raises(DatasetError, match="expected realiad_256"):
        read_dataset(tmp_path)


def test_ader_is_read_by_its_meta_json(tmp_path, picture):
    def entry(image, kind, mask=""):
        picture(tmp_path / image)
        return {
            "img_path": image,
            "mask_path": mask,
            "cls_name": "bottle",
            "specie_name": kind,
            "anomaly": int(kind != "good"),
        }

    mask = "bottle/ground_truth/crack/000_mask.png"
    picture(tmp_path / mask)
    meta = {
        "train": {"bottle": [entry("bottle/train/good/000.png", "good")]},
        "test": {
            "bottle": [
                entry("bottle/test/good/000.png", "good"),
                entry("bottle/test/crack/000.png", "crack", mask),
            ]
        },
    }
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    assert recognised(tmp_path) == ["ader", "mvtec"]
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "ader"
    assert summary(dataset, tmp_path)["test"] == [
        ("bottle", "good", "bottle/test/good/000.png", None),
        ("bottle", "crack", "bottle/test/crack/000.png", mask),
    ]
    forced = read_dataset(tmp_path, layout="mvtec")
    assert set(forced.test) == set(dataset.test)


def test_a_meta_json_of_something_else_is_an_error(tmp_path):
    (tmp_path / "meta.json").write_text("[1]")
    with pytest.raises(DatasetError, match=r"meta\.json: expected \{.train"):
        read_dataset(tmp_path)
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(DatasetError, match="not readable JSON"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("names", [("good", "defects"), ("OK", "NG")])
def test_a_plain_folder_needs_good_images_only(tmp_path, picture, names):
    good, defects = names
    root = tmp_path / "bolt"
    for number in range(20):
        picture(root / good / f"{number:03}.png")
    dataset = read_dataset(root)
    assert (dataset.layout, dataset.categories) == ("plain", ("bolt",))
    assert (len(dataset.train), dataset.test) == (20, [])

    picture(root / defects / "a.png")
    picture(root / defects / "scratch/b.png")
    picture(root / "masks/b_mask.png")
    dataset = read_dataset(root)
    defective = [s for s in dataset.test if not s.is_good]
    assert defective == [
        Sample(root / defects / "a.png", "bolt", "defective"),
        Sample(root / defects / "scratch/b.png", "bolt", "scratch", root / "masks/b_mask.png"),
    ]
    tested = {s.path.name for s in dataset.test if s.is_good}
    assert 1 <= len(tested) <= 10
    assert len(dataset.train) == 20 - len(tested)
    picture(root / good / "new.png")  # more images do not move the others
    assert tested == {s.path.name for s in read_dataset(root).test if s.is_good} - {"new.png"}


def test_a_plain_folder_may_hold_several_categories(tmp_path, picture):
    picture(tmp_path / "bolt/good/0.png")
    picture(tmp_path / "nut/good/0.png")
    picture(tmp_path / "nut/defects/0.png")
    assert read_dataset(tmp_path).categories == ("bolt", "nut")
    assert read_dataset(tmp_path, ["nut"]).categories == ("nut",)


def test_a_single_unnamed_category_takes_the_name_asked_for(tmp_path, picture):
    picture(tmp_path / "new shots/good/0.png")
    assert read_dataset(tmp_path / "new shots").categories == ("new-shots",)
    assert read_dataset(tmp_path / "new shots", ["bolt"]).categories == ("bolt",)


def test_a_small_category_is_tested_on_one_good_image_and_trained_on_another(tmp_path, picture):
    for number in range(2):
        picture(tmp_path / f"bolt/good/{number}.png")
    picture(tmp_path / "bolt/defects/0.png")
    dataset = read_dataset(tmp_path / "bolt")
    assert [len(dataset.train), sum(s.is_good for s in dataset.test)] == [1, 1]


def test_a_table_lists_images_wherever_they_lie(tmp_path, picture):
    for name in ("a", "b", "c", "d"):
        picture(tmp_path / f"shots/{name}.png")
    picture(tmp_path / "shots/d_mask.png")
    (tmp_path / "line.csv").write_text(
        "image, label, category, split, mask\n"
        "shots/a.png, OK, bolt, train,\n"
        "shots/b.png, normal, bolt, validation,\n"
        "shots/c.png, 0, bolt, test,\n"
        "shots/d.png, scratch, bolt, test, shots/d_mask.png\n"
    )
    dataset = read_dataset(tmp_path / "line.csv")
    assert dataset.layout == "list"
    assert summary(dataset, tmp_path) == {
        "train": [("bolt", "good", "shots/a.png", None)],
        "held_out": [("bolt", "good", "shots/b.png", None)],
        "test": [
            ("bolt", "good", "shots/c.png", None),
            ("bolt", "scratch", "shots/d.png", "shots/d_mask.png"),
        ],
    }


def test_json_lines_list_images_too(tmp_path, picture):
    rows = [{"image": "a.png", "label": "good"}, {"image": "b.png", "label": 1}]
    (tmp_path / "bolts").mkdir()
    (tmp_path / "bolts/manifest.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    for name in ("a", "b"):
        picture(tmp_path / f"images/{name}.png")
    dataset = read_dataset(tmp_path / "bolts", local_root=tmp_path / "images")
    assert dataset.categories == ("bolts",)
    assert [s.path.name for s in dataset.train] == ["a.png"]
    assert [(s.path.name, s.defect) for s in dataset.test] == [("b.png", "defective")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,label,sort\na.png,good,x\n", "line 1: unknown column sort: expected image, label"),
        ("image,kind\na.png,good\n", "line 1: unknown column kind: expected image, label"),
        (
            "image,split\na.png,test\n",
            "line 1: the heading has no column label: found image, split",
        ),
        ("image,label\na.png,good,x\n", "line 2: 3 columns, but the heading has 2"),
        ("image,label\n,good\n", "line 2: no 'image'"),
        ("image,label\na.png,\n", "line 2: no label"),
        ("image,label,split\na.png,good,later\n", "line 2: no split 'later'"),
        ("image,label,split\na.png,crack,train\n", "line 2: a.png is crack, but the split train"),
        ("image,label\n", "lists no images"),
    ],
)
def test_a_wrong_line_of_a_table_is_named(tmp_path, text, says):
    (tmp_path / "bolt.csv").write_text(text)
    with pytest.raises(DatasetError, match=says):
        read_dataset(tmp_path / "bolt.csv")


def lookout_line(bucket, image, kind, mask=None):
    line = {
        "source-ref": f"{bucket}{image}",
        "anomaly-label": 1,  # ignored: the class-name decides
        "anomaly-label-metadata": {
            "class-name": kind,
            "confidence": 1,
            "type": "groundtruth/image-classification",
            "human-annotated": "yes",
            "creation-date": "2021-10-12T14:16:45.668",
            "job-name": "labeling-job/classification-job",
        },
    }
    if mask:
        line["anomaly-mask-ref"] = f"{bucket}{mask}"
        line["anomaly-mask-ref-metadata"] = {
            "internal-color-map": {
                "0": {"class-name": "BACKGROUND", "hex-color": "#ffffff", "confidence": 0.0},
                "1": {"class-name": "scratch", "hex-color": "#2ca02c", "confidence": 0.0},
            },
            "type": "groundtruth/semantic-segmentation",
            "human-annotated": "yes",
            "creation-date": "2021-11-23T20:31:57.758889",
            "job-name": "labeling-job/segmentation-job",
        }
    return line


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("bucket", ["", "bucket/"])
def test_lookout_manifests_are_read_with_their_white_background(tmp_path, picture, bucket):
    root = tmp_path / "circuitboard"
    for name in ("train/normal/a.png", "test/normal/b.png", "test/anomaly/c.png"):
        picture(root / bucket / name, size=(8, 4))
    mask = Image.new("RGB", (8, 4), "white")
    mask.putpixel((3, 1), (0x2C, 0xA0, 0x2C))
    (root / bucket / "masks").mkdir()
    mask.save(root / bucket / "masks/c.png")
    write_lines(
        root / "manifests/train.manifest",
        [lookout_line("s3://bucket/", "train/normal/a.png", "normal")],
    )
    write_lines(
        root / "manifests/test.manifest",
        [
            lookout_line("s3://bucket/", "test/normal/b.png", "normal"),
            lookout_line("s3://bucket/", "test/anomaly/c.png", "anomaly", "masks/c.png"),
        ],
    )
    write_lines(root / "manifests/notes.manifest", [{"other": 1}])
    dataset = read_dataset(root)
    assert (dataset.layout, dataset.categories) == ("lookout", ("circuitboard",))
    assert [s.path.name for s in dataset.train] == ["a.png"]
    assert [(s.path.name, s.defect) for s in dataset.test] == [
        ("b.png", "good"),
        ("c.png", "scratch"),
    ]
    assert np.argwhere(read_mask(dataset.test[1], (4, 8))).tolist() == [[1, 3]]


def test_one_lookout_manifest_is_split_by_names(tmp_path, picture):
    lines = [lookout_line("s3://b/", f"{n}.png", "normal") for n in range(9)]
    lines.append(lookout_line("s3://b/", "9.png", "anomaly"))
    for number in range(10):
        picture(tmp_path / f"mirror/{number}.png")
    write_lines(tmp_path / "board.manifest", lines)
    dataset = read_dataset(tmp_path / "board.manifest", local_root=tmp_path / "mirror")
    assert dataset.categories == ("board",)
    assert len(dataset.train) + sum(s.is_good for s in dataset.test) == 9
    assert any(s.is_good for s in dataset.test)
    assert [s.path.name for s in dataset.test if not s.is_good] == ["9.png"]


def test_a_lookout_file_that_is_nowhere_says_where_it_was_looked_for(tmp_path):
    write_lines(tmp_path / "board.manifest", [lookout_line("s3://b/", "x/1.png", "normal")])
    with pytest.raises(DatasetError, match=r"line 1: no file for s3://b/x/1\.png.*--local-root"):
        read_dataset(tmp_path / "board.manifest")


def test_a_lookout_line_without_label_is_an_error(tmp_path, picture):
    picture(tmp_path / "1.png")
    line = lookout_line("", "1.png", "maybe")
    write_lines(tmp_path / "board.manifest", [line])
    with pytest.raises(DatasetError, match="class-name must be normal or anomaly, got 'maybe'"):
        read_dataset(tmp_path / "board.manifest")
    del line["anomaly-label-metadata"]
    write_lines(tmp_path / "board.manifest", [line])
    with pytest.raises(DatasetError, match="line 1: no label"):
        read_dataset(tmp_path / "board.manifest")


def test_what_no_layout_fits_is_an_error_that_names_them_all(tmp_path, picture):
    picture(tmp_path / "holiday/beach.png")
    with pytest.raises(DatasetError, match="found holiday/") as caught:
        read_dataset(tmp_path)
    assert all(f"{layout.name}: {layout.looks_for}" in str(caught.value) for layout in LAYOUTS)
    with pytest.raises(DatasetError, match="no layout 'coco'; have: lookout, ader"):
        read_dataset(tmp_path, layout="coco")
    with pytest.raises(DatasetError, match="no folder"):
        read_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize("layout", [layout.name for layout in LAYOUTS])
def test_a_layout_that_is_forced_and_does_not_fit_says_what_it_expects(tmp_path, layout):
    with pytest.raises(DatasetError, match=r"expected|has no meta"):
        read_dataset(tmp_path, layout=layout)


def test_a_list_may_be_restricted_to_categories(tmp_path, picture):
    visa(tmp_path, picture)
    assert read_dataset(tmp_path, ["candle"]).categories == ("candle",)
    with pytest.raises(DatasetError, match=r"no category cashew .*have: candle"):
        read_dataset(tmp_path, ["cashew"])
