"""The front benchmark's arithmetic, and what it compares, without starting a service."""

from pathlib import Path

from benchmarks.front import summary, variants
from benchmarks.fronting.comparing import stable
from benchmarks.fronting.fronts import Cost


def test_the_ratio_is_the_median_of_paired_rounds():
    first = [Cost(ms, 0.1, 100.0) for ms in (2.0, 4.0, 3.0)]
    faster = [Cost(ms, 0.2, 200.0) for ms in (1.0, 3.0, 3.0)]
    figures = summary(faster, first)
    assert figures["cpu_ms_per_image"] == 3.0
    assert figures["least_ms"] == 1.0
    assert figures["of_first"] == 0.75
    assert figures["images_per_s"] == 200


def test_the_other_checkout_is_measured_before_this_one(tmp_path):
    names = [variant.name for variant in variants(tmp_path, archives=[False, True])]
    assert names == [
        "before without archive", "after without archive",
        "before with archive", "after with archive",
    ]  # fmt: skip
    (alone,) = variants(None, archives=[True])
    assert (alone.name, alone.root) == ("with archive", Path(__file__).parents[2])


def test_ids_and_times_alone_do_not_count():
    answer = (
        "content-length: 10\nX-Inspection-ID: 0192f0c1-2c3a-7def-8123-456789abcdef\n"
        '{"score":0.5,"timings_ms":{"decode":1.25,"total":3e-05}}'
    )
    other = (
        "content-length: 12\nX-Inspection-ID: 0192f0c1-2c3a-7def-8123-000000000000\n"
        '{"score":0.5,"timings_ms":{"decode":11.5,"total":4.5}}'
    )
    assert stable(answer) == stable(other)
    assert stable(answer) != stable(other.replace("0.5,", "0.6,"))
