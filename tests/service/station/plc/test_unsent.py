"""Images for a PLC that is written to: none is lost that has a handshake bit, and none is torn."""

from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import example, given

from service.station.machine.images import ResultFields, StationImage
from service.station.machine.verdicts import Verdict
from service.station.plc.unsent import UnsentImages

FIRST = StationImage(results_valid=True, result=ResultFields(Verdict.OK, trigger_number=1))
SECOND = StationImage(results_valid=True, result=ResultFields(Verdict.NG, trigger_number=2))
OFF = StationImage(result=FIRST.result)
IMAGES = st.builds(
    StationImage,
    ready=st.booleans(),
    trigger_ack=st.booleans(),
    results_valid=st.booleans(),
    heartbeat=st.integers(0, 2),
    ack_command=st.integers(0, 1),
    result=st.builds(ResultFields, trigger_number=st.integers(0, 2)),
)


def written(images, *shown, now_s=0.0):
    """Show images, and return those to write until no more is due."""
    for image in shown:
        images.show(image)
    taken = []
    while (image := images.take(now_s)) is not None:
        taken.append(image)
    return taken


def ready(off_s=0.0):
    images = UnsentImages(off_s)
    written(images, StationImage())
    return images


def test_results_valid_is_seen_to_fall_between_two_results_that_follow_at_once():
    seen = written(ready(), FIRST, SECOND)
    fields = [(image.results_valid, image.result.trigger_number) for image in seen]
    assert fields == [(False, 1), (True, 1), (False, 1), (False, 2), (True, 2)]


def test_results_valid_stays_off_for_a_cycle_of_the_plc():
    images = ready(off_s=0.02)
    written(images, FIRST, now_s=1.0)
    assert written(images, OFF, replace(OFF, results_valid=True), now_s=2.0) == [OFF]
    assert written(images, now_s=2.019) == []
    assert written(images, now_s=2.021) == [replace(OFF, results_valid=True)]


def test_a_heartbeat_alone_replaces_an_image_that_is_not_written():
    images = ready()
    assert written(images, *(replace(StationImage(), heartbeat=n) for n in range(1, 9))) == [
        replace(StationImage(), heartbeat=8)
    ]
    assert written(images, replace(StationImage(), heartbeat=8)) == []


def test_a_plc_that_is_back_gets_the_newest_image_alone_and_the_fields_before_results_valid():
    images = ready()
    images.lose()
    seen = written(images, FIRST, StationImage(), SECOND)
    assert seen == [replace(SECOND, results_valid=False), SECOND]


@given(
    st.lists(st.one_of(IMAGES, st.just("write"), st.just("lose")), max_size=40),
    st.sampled_from([0.0, 3.0]),
)
@example([FIRST, "write", SECOND, "write", "lose", FIRST], 3.0)
def test_no_handshake_bit_is_skipped_and_no_result_is_torn(events, off_s):
    images = UnsentImages(off_s)
    shown, seen = [StationImage(online=False)], [None]  # None: the PLC may have any image
    off_since, now_s = -10.0, 0.0

    def take():
        nonlocal off_since
        image = images.take(now_s)
        if image is None:
            return
        before = seen[-1]
        if before is None:
            assert not image.results_valid
        elif before.result != image.result:
            assert not (before.results_valid or image.results_valid)
        if image.results_valid and not (before and before.results_valid):
            assert now_s >= off_since + off_s
        if not image.results_valid and (before is None or before.results_valid):
            off_since = now_s
        seen.append(image)

    for event in events:
        now_s += 1.0
        if event == "write":
            take()
        elif event == "lose":
            images.lose()
            shown, seen = shown[-1:], [None]
        else:
            shown = [event] if seen == [None] else [*shown, event]
            images.show(event)
    while images:
        now_s += 1.0
        take()
    assert seen[-1] == shown[-1]
    assert is_within(changes(shown), changes(seen[1:]))


def changes(images):
    """Return the handshake bits of images, without repetitions."""
    rows = []
    for image in images:
        row = (image.ready, image.trigger_ack, image.results_valid, image.ack_command, image.result)
        if not rows or rows[-1] != row:
            rows.append(row)
    return rows


def is_within(rows, longer):
    """Whether all rows are in the longer list, in order."""
    rest = iter(longer)
    return all(row in rest for row in rows)
