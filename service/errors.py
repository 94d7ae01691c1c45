"""What can go wrong with a request; `problem_types` has how each is answered."""


class ServiceError(Exception):
    """Base of every error whose message is meant for the client."""

    retry_after_s: int | None = None
    """Seconds after which it is worth trying again; None: no time makes it so."""


class MalformedBody(ServiceError):
    """A body that does not parse as what its Content-Type says."""


class InvalidTensor(ServiceError):
    """Tensors that do not fit the model, or not what is said about them."""


class MalformedRequest(ServiceError):
    """Bytes that are no HTTP/1.1 request."""


class Unauthenticated(ServiceError):
    """No API key where one is needed, or one that is not known."""


class Forbidden(ServiceError):
    """A caller that is known, and may not do this."""


class NoSuchCategory(ServiceError):
    """A category that no checkpoint serves."""


class NoSuchVersion(ServiceError):
    """A version that does not serve the category."""


class HeadersTooSlow(ServiceError):
    """A request whose headers did not arrive in time."""


class BodyTooSlow(ServiceError):
    """A body that did not arrive in time."""


class NoSuchModel(ServiceError):
    """A version that is not in the store."""


class Conflict(ServiceError):
    """What the state of things does not allow now."""


class ModelRefused(ServiceError):
    """A version that does not load here: nothing was changed."""


class BodyTooLarge(ServiceError):
    """A request, or one image in it, of more bytes than allowed."""


class ImageTooLarge(ServiceError):
    """An image larger, or dearer to decode, than allowed."""


class AnswerTooLarge(ServiceError):
    """Pictures asked for that are more bytes than one answer may have."""


class UnsupportedImage(ServiceError):
    """Bytes that do not begin like any image format that is taken."""


class UnsupportedEncoding(ServiceError):
    """A body compressed in a way that is not taken."""


class UnsupportedCharset(ServiceError):
    """A text that is said to be in another charset than UTF-8."""


class InvalidRequest(ServiceError):
    """A field that is missing or has an impossible value."""


class IdempotencyKeyReused(ServiceError):
    """An Idempotency-Key that was used with another request."""


class UndecodableImage(ServiceError):
    """An image that is empty, truncated or damaged."""


class RateLimited(ServiceError):
    """More requests or images than the caller may send; try again in `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, retry_after_s)


class HeadersTooLarge(ServiceError):
    """A request with more bytes of headers than allowed."""


class ClientGone(ServiceError):
    """The client closed the connection before its answer."""


class NonFiniteResult(ServiceError):
    """The network answered NaN or infinity: the part was not inspected."""


class InspectionFailed(ServiceError):
    """The network failed on this image: the part was not inspected."""


class Unavailable(ServiceError):
    """Try again in `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, retry_after_s)


class KeysUnreadable(Unavailable):
    """The keys file could not be read for too long to trust the keys read before."""


class TooManyConnections(Unavailable):
    """More connections than allowed, and none that could be let go for this one."""


class BodiesFull(Unavailable):
    """The bodies of requests and answers held at once are too many bytes already."""


class QueueFull(Unavailable):
    """More images are waiting already than will be taken."""


class NoWorkerReady(Unavailable):
    """Every worker is starting, or starting again."""


class WorkerLost(Unavailable):
    """The worker died with this image on it: the part was not inspected."""


class StateNotWritten(Unavailable):
    """A change that could not be kept on disk, and so was not made."""


class CheckpointUnavailable(Unavailable):
    """The category is known and its checkpoint cannot be loaded."""


class DeadlineExceeded(ServiceError):
    """The part was not inspected in time."""
