"""Parts that are drawn, not photographed: their pictures need nobody's licence.

A flange has six bolt holes, a gasket is a dark ring. Defects are scratches, dents, missing holes.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 256
CATEGORIES = ("flange", "gasket")
_SMOOTH = 3


def part(category: str, seed: int, *, is_defective: bool = False) -> Image.Image:
    """Draw a part; each seed has another position, light and grain."""
    random = np.random.default_rng([seed, CATEGORIES.index(category), int(is_defective)])
    side = SIDE * _SMOOTH
    base = _grain(random, side, 206 if category == "flange" else 96)
    picture = Image.new("RGB", (side, side), (38, 44, 52))
    mask = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(mask)
    centre = side / 2 + random.uniform(-2, 2, 2) * _SMOOTH
    _disc(draw, centre, 0.43 * side, 255)
    _disc(draw, centre, (0.15 if category == "flange" else 0.24) * side, 0)
    holes = 6 if category == "flange" else 0
    defect = random.choice(["scratch", "dent", "hole"] if holes else ["scratch", "dent"])
    missing = int(random.integers(holes)) if is_defective and defect == "hole" else None
    for number in range(holes):
        if number != missing:
            angle = 2 * np.pi * number / holes
            at = centre + 0.3 * side * np.array([np.cos(angle), np.sin(angle)])
            _disc(draw, at, 0.045 * side, 0)
    picture.paste(base, (0, 0), mask)
    if is_defective and defect != "hole":
        _damage(picture, random, centre, side, defect)
    shown = picture.filter(ImageFilter.GaussianBlur(_SMOOTH * 0.6)).resize((SIDE, SIDE))
    light = random.uniform(0.97, 1.03)
    return shown.point(lambda value: min(255, round(value * light)))


def encoded(picture: Image.Image) -> bytes:
    """Return a picture as a PNG."""
    content = BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def write_good(folder: Path, count: int) -> None:
    """Write good parts to train with, as <category>/train/good/<number>.png."""
    for category in CATEGORIES:
        place = folder / category / "train" / "good"
        place.mkdir(parents=True)
        for seed in range(count):
            (place / f"{seed:03}.png").write_bytes(encoded(part(category, seed)))


def write_samples(folder: Path) -> None:
    """Write a few parts, as <category>/<name>.png."""
    for category in CATEGORIES:
        (folder / category).mkdir(parents=True)
        for is_defective, word in ((False, "good"), (True, "defective")):
            for seed in (1, 2):
                content = encoded(part(category, 900 + seed, is_defective=is_defective))
                (folder / category / f"{word}-{seed}.png").write_bytes(content)


def _grain(random: np.random.Generator, side: int, level: float) -> Image.Image:
    """Return brushed metal: long horizontal grain."""
    rows = random.normal(0, 5, (side, side // 16)).repeat(16, axis=1)[:, :side]
    shade = np.linspace(8, -8, side)[:, None]
    grey = (level + rows + shade).clip(0, 255).astype(np.uint8)
    tinted = np.stack([grey, grey, (grey * 1.04).clip(0, 255).astype(np.uint8)], axis=2)
    return Image.fromarray(tinted).filter(ImageFilter.GaussianBlur(2))


def _disc(draw: ImageDraw.ImageDraw, at: "np.ndarray", radius: float, value: int) -> None:
    x, y = at
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=value)


def _damage(
    picture: Image.Image, random: np.random.Generator, centre: "np.ndarray", side: int, kind: str
) -> None:
    draw, angle = ImageDraw.Draw(picture), random.uniform(0, 2 * np.pi)
    at = centre + 0.34 * side * np.array([np.cos(angle), np.sin(angle)])
    if kind == "dent":
        _disc(draw, at, 0.035 * side, (70, 62, 54))
        _disc(draw, at - 0.008 * side, 0.02 * side, (148, 142, 132))
        return
    turn = angle + np.pi / 2 + random.uniform(-0.5, 0.5)
    reach = 0.1 * side * np.array([np.cos(turn), np.sin(turn)])
    ends = [tuple(at - reach), tuple(at + random.uniform(-6, 6, 2)), tuple(at + reach)]
    draw.line(ends, fill=(58, 50, 46), width=3 * _SMOOTH, joint="curve")
