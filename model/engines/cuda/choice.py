"""Which plan a network runs by: every candidate is tried on the device, and timed."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from model.engines.cuda.agreement import Agreement
from model.engines.cuda.buckets import Bucket
from model.engines.cuda.device import Device, Mark
from model.engines.cuda.network import InferenceNetwork
from model.engines.cuda.plan import REFERENCE, Plan, Trial, attempt, fastest

logger = logging.getLogger(__name__)

_BATCH = 8
_REPEATS = 5

Build = Callable[[Plan], InferenceNetwork]


class Choice:
    """The trials of one network's plans; `steps` are to be run in order, by the device's thread.

    Plans are timed as they will run, replayed where `graphs` are wished and can be captured, with a
    batch of at most 8.
    """

    def __init__(
        self, build: Build, agreement: Agreement, device: Device, plans: Sequence[Plan],
        most: int, *, graphs: bool,
    ) -> None:  # fmt: skip
        self.trials: list[Trial] = []
        self._build, self._agreement, self._device, self._graphs = build, agreement, device, graphs
        self._plans = plans
        _, *image = agreement.images.shape
        self._batch_shape = (min(most, _BATCH), *image)
        self._expected = np.empty(0)

    @property
    def best(self) -> Plan:
        """The fastest plan that agrees; the reference, before any was tried."""
        found = fastest(self.trials)
        return REFERENCE if found is None else found.plan

    def steps(self) -> list[Callable[[], None]]:
        """Return one step for each plan; none where there is no choice."""
        if not self._plans:
            return []
        return [partial(self._try, plan) for plan in (REFERENCE, *self._plans)] + [self._tell]

    def _try(self, plan: Plan) -> None:
        network = self._build(plan)
        if plan.is_reference:
            self._expected = self._answers(network)
        trial = attempt(plan, lambda: self._seconds(network), lambda: self._share(network))
        if trial is not None:
            self.trials.append(trial)

    def _tell(self) -> None:
        for trial in self.trials:
            logger.info("%s: %.2f ms a batch, %.2f of the tolerance",
                trial.plan, 1000 * trial.seconds, trial.share)  # fmt: skip
        logger.info("computes by %s", self.best)

    def _share(self, network: InferenceNetwork) -> float:
        return self._agreement.share(self._expected, self._answers(network))

    def _answers(self, network: InferenceNetwork) -> np.ndarray:
        """Return the answers to the images to agree on, one after the other: few fit everywhere."""
        images = torch.from_numpy(self._agreement.images)
        found = [network.answer(image[None].to(self._device.torch_device)) for image in images]
        return torch.cat(found).cpu().numpy()

    def _seconds(self, network: InferenceNetwork) -> float:
        """Return the shortest time of a batch."""
        batch = np.resize(self._agreement.images, self._batch_shape)
        run = self._runner(network, torch.from_numpy(batch).to(self._device.torch_device))
        self._timed(run)
        return min(self._timed(run) for _ in range(_REPEATS))

    def _runner(self, network: InferenceNetwork, pixels: torch.Tensor) -> Callable[[], object]:
        if self._graphs:
            try:
                bucket = Bucket.captured(network, self._device, pixels)
            except RuntimeError as error:
                self._device.check()
                logger.warning("%s is not captured: %s", network.plan, error)
            else:
                return lambda: bucket.replay(self._device)
        return lambda: network.answer(pixels)

    def _timed(self, run: Callable[[], object]) -> float:
        begin: Mark = self._device.mark()
        run()
        end = self._device.mark()
        end.synchronize()
        return begin.elapsed_time(end) / 1000
