"""Settings of `service.api`: limits of one request, and stored answers."""

from pydantic import Field

from service.settings.room import RoomSettings


class ApiSettings(RoomSettings):
    """Variables named `MAMBAAD_API__<FIELD>`."""

    max_files_per_request: int = Field(64, ge=1, le=1000, description="images in one request")
    max_images_per_batch: int = Field(
        1000, ge=1, description="images in one POST /detect/batch request"
    )
    batch_request_timeout_ms: float = Field(
        600_000.0, gt=0, description="time limit of one POST /detect/batch request"
    )

    idempotency_max_answers: int = Field(
        1000, ge=1, description="answers stored for requests with an Idempotency-Key"
    )
    idempotency_max_bytes: int = Field(
        64 * 2**20, ge=1, description="bytes of all stored answers together"
    )
    idempotency_ttl_s: float = Field(3600.0, gt=0, description="how long an answer is stored")
