"""Reports as self-contained HTML files, for the screen and for print.

drawing.py      axes, marks and legends of charts as SVG
charts.py       charts of scores: curves, histograms, scatters
rate_charts.py  charts of rates: false rejects against escapes, costs, sizes of defects
pictures.py     an image, its heatmap, the truth and what was nearly found, inside the page
facts.py        data, checkpoint, versions and command
section.py      one category's part
self_check.py   the self-check of the training and the choice of its recipe
stored_check.py reads both from the manifest
signing.py      the block that a person signs
page.py         fills a template and writes it
evaluation.py   the report of one checkpoint (subject.py: its content)
comparison.py   the report of two checkpoints
"""

from model.report.comparison import Pair, write_comparison
from model.report.evaluation import write_report
from model.report.subject import Subject

__all__ = ["Pair", "Subject", "write_comparison", "write_report"]
