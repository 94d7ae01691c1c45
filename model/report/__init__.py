"""Reports as self-contained HTML files, for the screen and for print.

charts.py      lines and histograms as SVG
pictures.py    image, heatmap and mask, side by side, inside the page
facts.py       data, checkpoint, versions and command
page.py        the report of one checkpoint
comparison.py  the report of two checkpoints
"""

from model.report.comparison import Pair, write_comparison
from model.report.page import Subject, write_report

__all__ = ["Pair", "Subject", "write_comparison", "write_report"]
