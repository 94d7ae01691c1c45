"""Drawn defects with masks, for questions that real defects are too rare to answer.

    drawn = draw(image, Kind.CRACK, Strength.FAINT, seed=(7, 0))
    drawn.image, drawn.mask

strokes.py   soft, antialiased shapes: lines, blobs, patches
kinds.py     one function for each kind of defect
drawing.py   a defect of a kind, strength and size, drawn so that its mask is true

The same seed gives the same defect at each strength: only its contrast changes.
"""

from model.synthetic.drawing import VISIBLE, Drawn, Size, Strength, draw, draw_each_strength
from model.synthetic.kinds import Kind

__all__ = ["VISIBLE", "Drawn", "Kind", "Size", "Strength", "draw", "draw_each_strength"]
