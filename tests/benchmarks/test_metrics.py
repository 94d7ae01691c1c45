import json

from benchmarks.metrics import fill, main
from model.metrics import MapSpill


def test_the_benchmark_writes_what_it_measured(tmp_path, capsys):
    out = tmp_path / "metrics.json"
    main(maps=12, side=48, resamplings=20, json_file=out)
    report = json.loads(out.read_text())
    assert report == json.loads(capsys.readouterr().out)
    assert (report["maps"], report["side"]) == (12, 48)
    assert report["measuring_cpu_s"] > 0
    assert 0.5 < report["pixel_auroc"] < 1
    assert report["peak_memory_mb"] >= report["memory_before_mb"] > 0


def test_every_other_map_has_a_defect():
    with MapSpill() as spill:
        fill(spill, 6, 48)
        assert [spill.is_good(image) for image in range(6)] == [True, False] * 3
        assert 0 < sum(spill.region_sizes) < 3 * 48 * 48 / 2
