"""Images of the station that a PLC has not got yet, when the station has to write them.

    images = UnsentImages(off_s=0.02)
    images.show(StationImage(ready=True))
    image = images.take(now_s)  # write it; after a failure, call `lose`

A PLC that polls reads the newest image. A PLC that is written to must get each change of a
handshake bit, in order.
"""

import math
from collections import deque
from dataclasses import replace

from service.station.machine.images import StationImage


class UnsentImages:
    """Keeps every image that differs from its neighbour in more than the heartbeat.

    Whatever is shown, the images that `take` returns keep two rules. The fields of the result
    change only in an image with ResultsValid off that follows one with ResultsValid off. And
    ResultsValid, once off, stays off for `off_s`, so that the PLC's program sees it.
    """

    def __init__(self, off_s: float) -> None:
        self._off_s = off_s
        self._newest = StationImage(online=False)
        self._unsent = deque([self._newest])
        self._sent: StationImage | None = None
        """What the PLC has; None: unknown, it may have lost its memory."""
        self._off_since_s = -math.inf

    def __bool__(self) -> bool:
        return bool(self._unsent)

    def show(self, image: StationImage) -> None:
        """Add an image, unless the PLC has it already."""
        latest = self._unsent[-1] if self._unsent else self._sent
        self._newest = image
        if image == latest:
            return
        if self._unsent and (self._sent is None or _differ_in_heartbeat_alone(latest, image)):
            self._unsent.pop()
        self._unsent.append(image)

    def lose(self) -> None:
        """Note that the PLC may have got nothing: only the newest image counts."""
        self._sent = None
        self._unsent = deque([self._newest])

    def take(self, now_s: float) -> StationImage | None:
        """Return the image to write now; None: all are written, or ResultsValid has to stay off."""
        if not self._unsent:
            return None
        image = self._unsent[0]
        before = self._sent
        if before is None or before.result != image.result:
            if before is not None and before.results_valid:
                image = replace(before, results_valid=False)
            elif image.results_valid:
                image = replace(image, results_valid=False)
        elif (
            image.results_valid
            and not before.results_valid
            and now_s < self._off_since_s + self._off_s
        ):
            return None
        if image is self._unsent[0]:
            self._unsent.popleft()
        if not image.results_valid and (before is None or before.results_valid):
            self._off_since_s = now_s
        self._sent = image
        return image


def _differ_in_heartbeat_alone(first: StationImage | None, second: StationImage) -> bool:
    return first is not None and replace(first, heartbeat=second.heartbeat) == second
