"""The answers about versions in the workers' memory."""

from pydantic import Field

from service.api.schemas import Answer
from service.workers.pipe.messages import Resident


class LatencyAnswer(Answer):
    """The duration of a batch of n images: n * `image_ms` + `batch_ms`."""

    image_ms: float = Field(description="time per image")
    batch_ms: float = Field(description="constant time per batch")


class ResidentAnswer(Answer):
    """A version in a worker's memory."""

    worker: str = Field(description="its device, plus a number if the device has several workers")
    bytes: int = Field(description="size of its weights, without a shared encoder")
    load_seconds: float = Field(description="reading, verifying, warming up, golden images")
    latency: LatencyAnswer | None = Field(description="duration of its batches; null: not measured")
    golden_difference: float | None = Field(
        description="largest difference of its golden images' raw scores from the saved ones, as "
        "a fraction of the tolerance, 0 to 1; null without golden images"
    )
    engine: str = Field(description='library and precision that compute it: "openvino, bfloat16"')
    last_used_s: float = Field(description="seconds since its last computation")

    @classmethod
    def of(cls, worker: str, resident: Resident, now: float) -> "ResidentAnswer":
        """Describe a loaded version; `now` is by the event loop's clock."""
        line = resident.latency_line
        latency = line and LatencyAnswer(image_ms=1000 * line.a_s, batch_ms=1000 * line.b_s)
        return cls(
            worker=worker,
            bytes=resident.bytes,
            load_seconds=resident.loaded_s,
            latency=latency,
            golden_difference=resident.golden,
            engine=resident.engine,
            last_used_s=max(0.0, now - resident.last_used),
        )
