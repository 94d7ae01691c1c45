"""Progress bars on a narrow terminal show complete figures."""

import io

import pytest
from rich.console import Console

from model.training.progress.monitor import watch
from model.training.progress.state import EpochRecord, Place


@pytest.mark.parametrize("width", [80, 100, 160])
def test_bars_show_every_figure_within_the_width(width):
    console = Console(force_terminal=True, width=width, file=io.StringIO(), color_system=None)
    with watch(console) as monitor:
        monitor.stage("fold 10/12")
        monitor.begin(1000, 1234, Place(epoch=998))
        monitor.step(Place(epoch=998, step=1234, loss_sum=99.0, images=9, seconds=0.01), 0.1)
        monitor.epoch(EpochRecord(999, 0.1234, 0.5678, 0.1, 1.0, 8.0))
        text = console.file
        monitor.step(Place(epoch=999, step=617, loss_sum=99.0, images=9, seconds=0.01), 0.1)
    shown = text.getvalue()
    assert "…" not in shown
    for part in ("fold 10/12", "epoch 1000/1000", "617/1234", "900.0 images/s (0% waiting)"):
        assert part in shown
    assert "loss 0.1234 held out 0.5678" in shown
