"""The errors of a request; `problem_types` defines the answer to each."""


class ServiceError(Exception):
    """Base of all errors whose message goes to the client."""

    retry_after_s: int | None = None
    """Seconds to wait before a retry; None: waiting does not help."""


class MalformedBody(ServiceError):
    """The body cannot be parsed as its Content-Type."""


class InvalidTensor(ServiceError):
    """Tensors do not fit the model or their own metadata."""


class MalformedRequest(ServiceError):
    """The bytes are not an HTTP/1.1 request."""


class Unauthenticated(ServiceError):
    """The API key is missing or unknown."""


class Forbidden(ServiceError):
    """The caller is known but lacks the permission."""


class NoSuchCategory(ServiceError):
    """No checkpoint serves the category."""


class NoSuchVersion(ServiceError):
    """The version does not serve the category."""


class HeadersTooSlow(ServiceError):
    """The request's headers did not arrive in time."""


class BodyTooSlow(ServiceError):
    """The body did not arrive in time."""


class NoSuchModel(ServiceError):
    """The store has no such version."""


class NoArchive(ServiceError):
    """The service keeps no inspections."""


class NoSuchInspection(ServiceError):
    """The archive has no such inspection, or the inspection no such view."""


class InvalidCursor(ServiceError):
    """The cursor of a search is forged, or belongs to another search."""


class SearchTooBroad(ServiceError):
    """The search looked at too many inspections in its time."""


class MediaNotKept(ServiceError):
    """The archive never had this image or raw map."""


class MediaDeleted(ServiceError):
    """The retention or a purge has deleted this image or raw map."""


class MediaDamaged(ServiceError):
    """The file of this image or raw map is gone, or is not the one that was written."""


class OnOtherNode(ServiceError):
    """Only another node can do this; `node` is its name in the archive."""

    def __init__(self, message: str, node: str) -> None:
        super().__init__(message)
        self.node = node


class NoSuchSink(ServiceError):
    """No sink has this name."""


class Conflict(ServiceError):
    """The current state does not allow the change."""


class ModelRefused(ServiceError):
    """The version cannot be loaded here; nothing was changed."""


class BodyTooLarge(ServiceError):
    """The request, or one image in it, has too many bytes."""


class ImageTooLarge(ServiceError):
    """The image is too large or too expensive to decode."""


class AnswerTooLarge(ServiceError):
    """The requested heatmaps have too many bytes for one answer."""


class UnsupportedImage(ServiceError):
    """The file is not in a supported image format."""


class UnsupportedEncoding(ServiceError):
    """The body's Content-Encoding is not supported."""


class UnsupportedCharset(ServiceError):
    """A text declares a charset other than UTF-8."""


class InvalidRequest(ServiceError):
    """A field is missing or has an invalid value."""


class IdempotencyKeyReused(ServiceError):
    """The Idempotency-Key was used with another request."""


class InvalidInspectionId(ServiceError):
    """The inspection id is not a UUIDv7, or two different ones were given."""


class InspectionIdReused(ServiceError):
    """The inspection id belongs to another part: another category or other images."""


class MapNotKept(ServiceError):
    """The part is decided, but its anomaly map, which the answer needs, is no longer there."""


class UndecodableImage(ServiceError):
    """The image is empty, truncated or damaged."""


class RateLimited(ServiceError):
    """The caller sent too many requests or images; try again in `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, retry_after_s)


class HeadersTooLarge(ServiceError):
    """The request's headers have too many bytes."""


class ClientGone(ServiceError):
    """The client closed the connection before the answer."""


class NonFiniteResult(ServiceError):
    """The network returned NaN or infinity: the part was not inspected."""


class InspectionFailed(ServiceError):
    """The network failed on this image: the part was not inspected."""


class Unavailable(ServiceError):
    """The service cannot do this now; try again in `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, retry_after_s)


class KeysUnreadable(Unavailable):
    """The keys file was unreadable for too long to trust the keys read before."""


class TooManyConnections(Unavailable):
    """Too many connections are open, and all of them are in use."""


class BodiesFull(Unavailable):
    """All request bodies and answers in memory together have too many bytes."""


class QueueFull(Unavailable):
    """The queue is full."""


class NoWorkerReady(Unavailable):
    """All workers are starting or restarting."""


class WorkerLost(Unavailable):
    """The worker died while it processed this image: the part was not inspected."""


class StateNotWritten(Unavailable):
    """The change could not be written to disk and was not made."""


class SharedStateUnavailable(Unavailable):
    """The state that nodes share cannot be changed now, and was not, unless the message doubts it.

    Inspections go on from the last state.
    """


class JournalUnavailable(Unavailable):
    """The journal cannot be written or read: nothing was recorded."""


class ArchiveUnavailable(Unavailable):
    """The archive cannot be searched or judged in now."""


class CheckpointUnavailable(Unavailable):
    """The category is known, but its checkpoint cannot be loaded."""


class DeadlineExceeded(ServiceError):
    """The part was not inspected in time."""
