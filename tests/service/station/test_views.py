"""Several cameras a part: views of one inspection, or inspections of their own."""

import asyncio
import hashlib

import pytest

from service.client import AsyncClient
from service.station.machine.verdicts import Reason, Verdict
from tests.service.live import serving
from tests.service.station.cameras.numbered import MjpegCamera, jpeg, pixels
from tests.service.station.plant import Plant, until


@pytest.fixture(scope="module")
def served(tmp_path_factory, weights):
    """A service that keeps every image."""
    state = tmp_path_factory.mktemp("state")
    with serving(weights, versions__state_dir=state, archive__keep_images="OK=1") as live:
        yield live


class Cameras(Plant):
    """Each camera of `categories` has a folder; `shot` says what it writes for a part."""

    def __init__(self, folder, url, image, categories, cameras=None, silent_after_ms=300):
        self.names = [name for name in categories if name not in (cameras or {})]
        folders = {name: folder / "cameras" / name for name in self.names}
        for path in folders.values():
            path.mkdir(parents=True)
        watched = {
            name: {
                "folder": {
                    "path": path,
                    "pattern": "{trigger_number}.png",
                    "renamed_into_place": True,
                    "timeout_ms": silent_after_ms,
                }
            }
            for name, path in folders.items()
        }
        super().__init__(
            folder, url, image,
            cameras={**watched, **(cameras or {})}, recipes={1: {"categories": categories}},
        )  # fmt: skip
        self.folders = folders
        self.spoiled = {}

    def shot(self, camera, number):
        if camera in self.spoiled:
            return self.spoiled[camera](number)
        return self.image(width=24, height=24, seed=100 * number + self.names.index(camera))

    async def expose(self, number):
        for camera, folder in self.folders.items():
            content = self.shot(camera, number)
            if content is not None:
                half = folder / f".{number}"
                half.write_bytes(content)
                half.replace(folder / f"{number}.png")

    async def run(self, parts, first):
        """Trigger parts; return the report, the verdict and reason told, and the archive's rows."""
        async with self.station() as station:
            report = await self.plc(station, parts=parts, first_number=first).run()
            reason = station.image.result.reason
            await until(lambda: station.waiting == 0, "empty spool")
        async with AsyncClient(self.url) as client:
            rows = [row async for row in client.inspections() if row.origin != "test"]
        numbers = range(first, first + parts)
        assert (report.problems, report.missing) == ([], set())
        return report, reason, [row for row in rows if row.meta["trigger_number"] in numbers]

    def check_images(self, row):
        """Each view of an inspection has the image of its camera, for this part."""
        number, cameras = row.meta["trigger_number"], row.meta["cameras"]
        kept = [view["image"]["sha256"] for view in row.answer["views"]]
        assert len(kept) == len(cameras)
        for sha256, camera in zip(kept, cameras, strict=True):
            assert sha256 == hashlib.sha256(self.shot(camera, number)).hexdigest(), camera


def test_two_cameras_of_a_category_are_views_of_one_inspection(tmp_path, served, image):
    plant = Cameras(tmp_path, served.url, image, {"top": "bolt", "side": "bolt"}, None, 20_000)
    report, _, rows = asyncio.run(plant.run(5, first=100))
    assert list(report.verdicts.values()) == [Verdict.OK] * 5
    assert len(rows) == 5
    for row in rows:
        assert (row.told, row.meta["cameras"]) == ("OK", ["top", "side"])
        plant.check_images(row)


def test_the_worst_of_two_categories_counts(tmp_path, served, image):
    plant = Cameras(tmp_path, served.url, image, {"top": "bolt", "side": "nut"}, None, 20_000)
    report, _, rows = asyncio.run(plant.run(3, first=200))
    assert list(report.verdicts.values()) == [Verdict.NG] * 3
    assert sorted((row.category, row.told, row.found) for row in rows) == [
        *[("bolt", "NG", "OK")] * 3, *[("nut", "NG", "NG")] * 3,
    ]  # fmt: skip
    for row in rows:
        plant.check_images(row)


@pytest.mark.parametrize(
    ("second_category", "verdict", "reason"),
    [("bolt", Verdict.UNDECIDED, Reason.CAMERA_SILENT), ("nut", Verdict.NG, Reason.NONE)],
)
def test_with_a_silent_and_a_black_camera_the_worst_verdict_counts(
    tmp_path, served, image, second_category, verdict, reason
):
    """`top` sees nothing, `side` is dark, `end` is well: NG, then UNDECIDED, then INPUT_PROBLEM."""
    first = 300 if second_category == "bolt" else 400
    categories = {"top": "bolt", "side": second_category, "end": "bolt"}
    plant = Cameras(tmp_path, served.url, image, categories)
    plant.spoiled = {"top": lambda number: None, "side": dark}
    report, told_reason, rows = asyncio.run(plant.run(2, first=first))
    assert list(report.verdicts.values()) == [verdict] * 2
    assert told_reason is reason
    assert len(rows) == (2 if second_category == "bolt" else 4)
    for row in rows:
        assert "top" not in row.meta["cameras"]
        plant.check_images(row)
    seen = {camera for row in rows for camera in row.meta["cameras"]}
    assert seen == {"side", "end"}


def dark(number):
    return jpeg(pixels(number) // 128)


def test_a_black_camera_of_three_makes_the_part_an_input_problem(tmp_path, served, image):
    categories = {"top": "bolt", "side": "bolt", "end": "bolt"}
    plant = Cameras(tmp_path, served.url, image, categories, None, 20_000)
    plant.spoiled = {"side": dark}
    report, reason, rows = asyncio.run(plant.run(2, first=500))
    assert list(report.verdicts.values()) == [Verdict.INPUT_PROBLEM] * 2
    assert reason is Reason.IMAGE_BLACK
    for row in rows:
        assert row.told_reason == "input-problem: image-black"
        plant.check_images(row)


def test_a_folder_that_cannot_be_read_leaves_the_other_cameras_their_images(
    tmp_path, served, image
):
    gone = {"side": {"folder": {"path": tmp_path / "gone"}}}
    plant = Cameras(
        tmp_path, served.url, image, {"top": "bolt", "side": "bolt"}, gone, silent_after_ms=20_000
    )
    report, reason, rows = asyncio.run(plant.run(1, first=600))
    assert list(report.verdicts.values()) == [Verdict.UNDECIDED]
    assert reason is Reason.CAMERA_SILENT
    (row,) = rows
    assert row.meta["cameras"] == ["top"]
    plant.check_images(row)


def test_a_stream_beside_a_folder_and_its_loss(tmp_path, served, image):
    """The stream's frames have other numbers than the parts; none serves two parts."""
    device = MjpegCamera()
    with device.listening() as url:
        stream = {"stream": {"url": url, "timeout_ms": 20_000, "latency_ms": 0}}
        plant = Cameras(
            tmp_path, served.url, image, {"top": "bolt", "side": "bolt"}, {"side": stream}, 20_000
        )
        report, _, rows = asyncio.run(plant.run(4, first=700))
    assert list(report.verdicts.values()) == [Verdict.OK] * 4
    sent = {
        hashlib.sha256(jpeg(pixels(number))).hexdigest() for number in range(len(device.taken_s))
    }
    kept = [row.answer["views"][1]["image"]["sha256"] for row in rows]
    assert len(set(kept)) == 4
    assert set(kept) <= sent

    lost = {"side": {"stream": {"url": url, "timeout_ms": 300, "latency_ms": 0}}}
    (tmp_path / "later").mkdir()
    plant = Cameras(
        tmp_path / "later", served.url, image, {"top": "bolt", "side": "bolt"}, lost, 20_000
    )
    report, reason, rows = asyncio.run(plant.run(1, first=800))
    assert list(report.verdicts.values()) == [Verdict.UNDECIDED]
    assert reason is Reason.CAMERA_SILENT
    assert [row.meta["cameras"] for row in rows] == [["top"]]
