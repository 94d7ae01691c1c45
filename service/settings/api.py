"""Settings of `service.api`: how much one request may ask for, and answers that are kept."""

from pydantic import Field

from service.settings.room import RoomSettings


class ApiSettings(RoomSettings):
    """Variables named `MAMBAAD_API__<FIELD>`."""

    max_files_per_request: int = Field(64, ge=1, le=1000)
    max_images_per_batch: int = Field(1000, ge=1, description="for POST /detect/batch")
    batch_request_timeout_ms: float = Field(
        600_000.0, gt=0, description="for POST /detect/batch, with all its images"
    )

    idempotency_max_answers: int = Field(1000, ge=1, description="kept for Idempotency-Key")
    idempotency_max_bytes: int = Field(64 * 2**20, ge=1, description="of answers kept")
    idempotency_ttl_s: float = Field(3600.0, gt=0, description="for an answer to be kept")
