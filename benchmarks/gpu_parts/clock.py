"""Times work between two marks on a device, eagerly or as a CUDA graph."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from model.engines.cuda.device import CpuDevice, CudaDevice, Device

WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of one piece of work; `replayed` is true if a CUDA graph ran it."""

    p50_ms: float
    p99_ms: float
    repeats: int
    replayed: bool


def device_for(name: str) -> Device:
    """Return a device by name; "cpu" for a dry run."""
    return CpuDevice() if name == "cpu" else CudaDevice(name)


def timed(work: Callable[[], object], device: Device, repeats: int) -> Times:
    """Time work on the device, with its launches."""
    for _ in range(min(WARM_UP, repeats)):
        work()
    return _summary([_once(work, device) for _ in range(repeats)], replayed=False)


@torch.inference_mode()
def timed_as_graph(work: Callable[[], torch.Tensor], device: Device, repeats: int) -> Times:
    """Time work without its launches if it can be captured, otherwise like `timed`."""
    with device.running():
        for _ in range(min(WARM_UP, repeats)):
            work()
        device.mark().synchronize()
        try:
            captured = device.capture(lambda: [work()])
        except RuntimeError:
            device.check()
            return timed(work, device, repeats)
        captured.replay()
        return _summary([_once(captured.replay, device) for _ in range(repeats)], replayed=True)


def _once(work: Callable[[], object], device: Device) -> float:
    begin = device.mark()
    work()
    end = device.mark()
    end.synchronize()
    return begin.elapsed_time(end)


def _summary(milliseconds: list[float], *, replayed: bool) -> Times:
    p50, p99 = (float(ms) for ms in np.percentile(milliseconds, (50, 99)))
    return Times(p50, p99, len(milliseconds), replayed)
