"""Each missed trigger and each overrun counts, although its error is latched only once."""

from service.station.machine.faults import ErrorCode
from service.station.machine.states import State
from service.station.machine.work import Counts
from tests.service.station.machine.bench import SETTINGS, Bench


def test_each_missed_trigger_and_each_overrun_counts():
    bench = Bench().be(State.READY)
    job = bench.take_part(1, "first")
    for _ in range(3):
        bench.write(trigger=False)
        bench.write(trigger=True)
    bench.write(trigger=False)
    bench.decide(job)
    bench.wait(SETTINGS.ack_timeout_ms)
    bench.acknowledge()
    bench.inspect_part()
    bench.wait(SETTINGS.ack_timeout_ms)
    assert bench.machine.counts == Counts(triggers=2, missed_triggers=3, overruns=2)
    assert bench.machine.errors == (ErrorCode.MISSED_TRIGGER, ErrorCode.OVERRUN)
