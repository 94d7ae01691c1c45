"""The recovery benchmark's arithmetic, without starting a service."""

from benchmarks.recovery import Recovery, summary


def test_each_kind_of_fault_has_a_row_with_the_median_and_the_worst():
    seconds = {True: (0.3, 0.1, 0.2), False: (9.0, 8.0, 30.0)}
    recoveries = [
        Recovery("kill -9", has_spare, is_busy=False, seconds=s, undecided=number)
        for has_spare, values in seconds.items()
        for number, s in enumerate(values)
    ]
    with_spare, without = summary(recoveries)
    assert (with_spare["has_spare"], without["has_spare"]) == (True, False)
    assert (with_spare["median_s"], with_spare["worst_s"]) == (0.2, 0.3)
    assert (without["median_s"], without["worst_s"]) == (9.0, 30.0)
    assert with_spare["rounds"] == without["undecided"] == 3
