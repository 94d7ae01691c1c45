"""Reports: one HTML file each, whole in itself, that reads and prints anywhere without a network.

charts.py      lines and histograms as SVG
pictures.py    image, heatmap and mask, side by side, inside the page
facts.py       what was measured, with what, and how it can be made again
page.py        the report of one checkpoint
comparison.py  the report of two
"""

from model.report.comparison import Pair, write_comparison
from model.report.page import Subject, write_report

__all__ = ["Pair", "Subject", "write_comparison", "write_report"]
