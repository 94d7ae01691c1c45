"""Chooses a network's plan by trying and timing every candidate on the device."""

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
    """The trials of one network's plans; run the `steps` in order on the device's thread.

    Plans are timed as they will run: replayed, if `graphs` is set and the capture succeeds, with a
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
        """The fastest plan that agrees with the reference, or the reference itself."""
        trial = fastest(self.trials)
        return REFERENCE if trial is None else trial.plan

    def steps(self) -> list[Callable[[], None]]:
        """Return one step for each plan; no steps without a choice."""
        if not self._plans:
            return []
        return [partial(self._try, plan) for plan in (REFERENCE, *self._plans)] + [self._log]

    def _try(self, plan: Plan) -> None:
        network = self._build(plan)
        if plan.is_reference:
            self._expected = self._answers(network)
        trial = attempt(plan, lambda: self._seconds(network), lambda: self._share(network))
        if trial is not None:
            self.trials.append(trial)

    def _log(self) -> None:
        for trial in self.trials:
            logger.info("%s: %.2f ms a batch, %.2f of the tolerance",
                trial.plan, 1000 * trial.seconds, trial.share)  # fmt: skip
        logger.info("chosen plan: %s", self.best)

    def _share(self, network: InferenceNetwork) -> float:
        return self._agreement.share(self._expected, self._answers(network))

    def _answers(self, network: InferenceNetwork) -> np.ndarray:
        """Return the results for the agreement's images, computed one by one to save memory."""
        images = torch.from_numpy(self._agreement.images)
        answers = [network.answer(image[None].to(self._device.torch_device)) for image in images]
        return torch.cat(answers).cpu().numpy()

    def _seconds(self, network: InferenceNetwork) -> float:
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
                logger.warning("no graph for %s: %s", network.plan, error)
            else:
                return lambda: bucket.replay(self._device)
        return lambda: network.answer(pixels)

    def _timed(self, run: Callable[[], object]) -> float:
        begin: Mark = self._device.mark()
        run()
        end = self._device.mark()
        end.synchronize()
        return begin.elapsed_time(end) / 1000
