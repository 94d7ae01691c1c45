"""What can go wrong with a request, and the one table from error to HTTP answer.

    ServiceError
    ├── MalformedBody           400  not a multipart body, though it says so
    ├── InvalidTensor           400  an inference request whose tensors do not fit
    ├── MalformedRequest        400  not HTTP/1.1
    ├── Unauthenticated         401  no key, or none that is known
    ├── Forbidden               403  a key without the scope, or a page of another origin
    ├── NoSuchCategory          404  a category that no checkpoint serves
    ├── NoSuchVersion           404  a version that does not serve the category
    ├── NoSuchModel             404  a version that is not in the store
    ├── HeadersTooSlow          408  the headers did not arrive in time
    ├── BodyTooSlow             408  the body did not arrive in time
    ├── Conflict                409  what the state of things does not allow now
    ├── ModelRefused            409  a version that does not load, so nothing was changed
    ├── BodyTooLarge            413  more bytes than allowed
    ├── ImageTooLarge           413  more pixels than allowed
    ├── AnswerTooLarge          413  pictures asked for of more bytes than an answer may have
    ├── UnsupportedImage        415  not one of the image formats taken
    ├── UnsupportedEncoding     415  a Content-Encoding other than gzip and deflate
    ├── InvalidRequest          422  a field that is missing or has an impossible value
    ├── IdempotencyKeyReused    422  a key that stands for another request
    ├── UndecodableImage        422  an image that is empty, truncated or damaged
    ├── RateLimited             429  more images than the caller may send (Retry-After)
    ├── HeadersTooLarge         431  more bytes of headers than allowed
    ├── ClientGone              499  the client left; nobody reads this answer
    ├── NonFiniteResult         500  the network answered NaN or infinity
    ├── InspectionFailed        500  the network failed on this image
    ├── Unavailable             503  try again later (Retry-After)
    │   ├── TooManyConnections       more connections than allowed, and none that only waits
    │   ├── BodiesFull               bodies and answers held at once are too many bytes
    │   ├── QueueFull                more is waiting already than will be taken
    │   ├── NoWorkerReady            workers are starting, or starting again
    │   ├── WorkerLost               the worker died with this image on it
    │   ├── StateNotWritten          a change that could not be kept, and so was not made
    │   └── CheckpointUnavailable    the category's checkpoint cannot be loaded
    └── DeadlineExceeded        504  not inspected in time

`service.problems` writes the answer.
"""

from dataclasses import dataclass


class ServiceError(Exception):
    """Base of every error whose message is meant for the client."""


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
    """An image of more pixels than allowed, by its header."""


class AnswerTooLarge(ServiceError):
    """Pictures asked for that are more bytes than one answer may have."""


class UnsupportedImage(ServiceError):
    """Bytes that do not begin like any image format that is taken."""


class UnsupportedEncoding(ServiceError):
    """A body compressed in a way that is not taken."""


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


@dataclass(frozen=True, slots=True)
class ProblemType:
    """How one kind of error is answered; `slug` is its stable name for programs."""

    status: int
    slug: str
    title: str

    @property
    def uri(self) -> str:
        """The identifier in a problem's `type`."""
        return f"urn:mambaad:problem:{self.slug}"


INTERNAL = ProblemType(500, "internal-error", "The service failed")
PROBLEM_TYPES: dict[type[ServiceError], ProblemType] = {
    MalformedBody: ProblemType(400, "malformed-body", "The body cannot be parsed"),
    InvalidTensor: ProblemType(400, "invalid-tensor", "The tensors do not fit the model"),
    Unauthenticated: ProblemType(401, "unauthenticated", "No API key, or none that is known"),
    Forbidden: ProblemType(403, "forbidden", "The caller may not do this"),
    NoSuchCategory: ProblemType(404, "unknown-category", "No checkpoint serves this category"),
    NoSuchVersion: ProblemType(404, "unknown-version", "This version does not serve the category"),
    MalformedRequest: ProblemType(400, "malformed-request", "Not an HTTP request"),
    HeadersTooSlow: ProblemType(408, "headers-too-slow", "The headers did not arrive in time"),
    BodyTooSlow: ProblemType(408, "body-too-slow", "The body did not arrive in time"),
    NoSuchModel: ProblemType(404, "unknown-model", "No such version in the store"),
    Conflict: ProblemType(409, "conflict", "Not as things stand"),
    ModelRefused: ProblemType(409, "model-refused", "The version does not load"),
    BodyTooLarge: ProblemType(413, "body-too-large", "Too many bytes"),
    ImageTooLarge: ProblemType(413, "image-too-large", "Too many pixels"),
    AnswerTooLarge: ProblemType(413, "answer-too-large", "Too large an answer"),
    UnsupportedImage: ProblemType(415, "unsupported-image", "Not an image format that is taken"),
    UnsupportedEncoding: ProblemType(415, "unsupported-encoding", "Not an encoding that is taken"),
    InvalidRequest: ProblemType(422, "invalid-request", "A field is missing or impossible"),
    IdempotencyKeyReused: ProblemType(422, "idempotency-key-reused", "Another request's key"),
    UndecodableImage: ProblemType(422, "undecodable-image", "The image cannot be decoded"),
    RateLimited: ProblemType(429, "rate-limited", "Too many requests"),
    HeadersTooLarge: ProblemType(431, "headers-too-large", "Too many bytes of headers"),
    ClientGone: ProblemType(499, "client-gone", "The client closed the connection"),
    NonFiniteResult: ProblemType(500, "non-finite-result", "The network's answer is not a number"),
    InspectionFailed: ProblemType(500, "inspection-failed", "The image could not be inspected"),
    TooManyConnections: ProblemType(503, "too-many-connections", "Too many connections are open"),
    BodiesFull: ProblemType(503, "bodies-full", "Too much is being received"),
    QueueFull: ProblemType(503, "queue-full", "Too much is waiting"),
    NoWorkerReady: ProblemType(503, "no-worker-ready", "No worker is ready"),
    WorkerLost: ProblemType(503, "worker-lost", "The worker died on this image"),
    StateNotWritten: ProblemType(503, "state-not-written", "The change could not be kept"),
    CheckpointUnavailable: ProblemType(503, "checkpoint-unavailable", "It cannot be loaded now"),
    DeadlineExceeded: ProblemType(504, "deadline-exceeded", "Not inspected in time"),
}
