from benchmarks.commands import COMMANDS, Took, middle, timed


def test_the_median_of_each_is_taken_alone():
    assert middle([Took(1, 6), Took(2, 5), Took(9, 4)]) == Took(2, 5)


def test_a_command_that_fails_is_timed_too():
    took = timed(COMMANDS["unknown option"], {})
    assert took.wall_s > 0 and took.cpu_s > 0
