"""A started service finds what it has inspected, and draws what it has answered."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image


def pixels(content):
    return np.asarray(Image.open(BytesIO(content))).astype(int)


def grey_16_bits():
    levels = np.random.default_rng(3).integers(0, 65536, (48, 96)).astype(np.uint16)
    encoded = BytesIO()
    Image.fromarray(levels).save(encoded, "PNG")
    return encoded.getvalue()


@pytest.mark.parametrize("kind", ["map", "mask", "overlay"])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_heatmap_is_drawn_again_as_it_was_answered(live, image, kind, depth):
    content = image() if depth == 8 else grey_16_bits()
    with live.client() as client:
        posted = client.post(
            "/detect", params={"category": "nut", "heatmap": kind}, content=content
        ).json()
        one = f"/inspections/{posted['inspection_id']}"
        drawn = client.get(f"{one}/heatmap", params={"kind": kind})
        kept = client.get(f"{one}/image")
        row = client.get(one).json()
    assert (drawn.status_code, kept.content) == (200, content), drawn.text
    answered = pixels(base64.b64decode(posted["results"][0]["heatmap"]))
    again = pixels(drawn.content)
    assert again.shape == answered.shape
    # The map has 16 bits, so a grey level may differ by 1; a colour changes faster than that.
    assert np.abs(again - answered).max() <= {"map": 1, "mask": 0, "overlay": 3}[kind]
    assert (row["told"], row["views"][0]["regions"]) == ("NG", posted["results"][0]["regions"])


def test_a_part_is_found_judged_and_counted(live, image):
    with live.client() as client:
        fields = {"category": "nut", "part_id": "O'Brien; 100 % 😀", "station": "EL-3"}
        posted = client.post("/detect", params=fields, content=image(seed=7)).json()
        (row,) = client.get("/inspections", params={"part_id": fields["part_id"]}).json()[
            "inspections"
        ]
        assert row["inspection_id"] == posted["inspection_id"]
        path = f"/inspections/{row['inspection_id']}"
        judged = client.put(f"{path}/verdict", json={"verdict": "good", "who": "Ada"}).json()
        assert judged["verdicts"][0]["author"].startswith("Ada (anonymous@127.0.0.1")
        summary = client.get("/inspections/summary", params={"station": "EL-3"}).json()
        assert {"told": "NG", "verdict": "good", "parts": 1} in summary["counts"]
