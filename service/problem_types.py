"""The answer to each error, defined once for problems, OpenAPI, Lookout and the docs.

`python -m tests.service.api.problem_docs` writes the table in docs/integrate.md.
"""

from service import errors
from service.problem_type import ProblemType

_REPAIR_BODY = "fix the client: the body is not a valid form or valid JSON"
_GIVE_KEY = "give the client a key with the scope `detect`"
_REPAIR_NAME = "correct the name, or load the model; `detail` lists the categories"
_LOOK_AT_NETWORK = "check the network, then try again"
_SEND_LESS = "send less, request fewer heatmaps at once, or raise the limit"
_SEND_FORMAT = "send JPEG, PNG, BMP, TIFF, WebP, PGM or PPM; `detail` names the unsupported variant"
_SEND_UTF8 = "send texts in UTF-8, and declare UTF-8 or no charset"
_TAKE_AGAIN = "take the picture again: the file is damaged, empty or not valid base64"
_REPAIR_FIELD = "fix the client; `errors` names the field"
_WAIT = "wait for `Retry-After` seconds"
_READ_LOG = "search the log for the request id; a retry rarely helps"
_TRY_AGAIN = "try again after `Retry-After` seconds, if the part can wait"
_TOO_LATE = "the part has passed; send fewer requests, or use a faster device"

# Else the server would parse the unread part of the body as the next request.
_CLOSE = {"Connection": "close"}

INTERNAL = ProblemType(500, "internal-error", "The service failed", advice=_READ_LOG)
PROBLEM_TYPES: dict[type[errors.ServiceError], ProblemType] = {
    errors.MalformedBody: ProblemType(
        400,
        "malformed-body",
        "The body cannot be parsed",
        example="the form cannot be read: its Content-Type has no boundary",
        advice=_REPAIR_BODY,
    ),
    errors.InvalidTensor: ProblemType(
        400,
        "invalid-tensor",
        "The tensors do not fit the model",
        example="expected one input, 'image'; got 'images'",
    ),
    errors.Unauthenticated: ProblemType(
        401,
        "unauthenticated",
        "The API key is missing or unknown",
        example="no API key: expected Authorization: Bearer <key>, or X-API-Key: <key>",
        advice=_GIVE_KEY,
        headers={"WWW-Authenticate": 'Bearer realm="mambaad"'},
    ),
    errors.Forbidden: ProblemType(
        403,
        "forbidden",
        "The caller may not do this",
        example="'line-3' has the scope detect, but this needs admin",
        advice=_GIVE_KEY,
    ),
    errors.NoSuchCategory: ProblemType(
        404,
        "unknown-category",
        "No checkpoint serves this category",
        example="no checkpoint serves the category 'botle'; have: solar-mono, solar-poly",
        advice=_REPAIR_NAME,
    ),
    errors.NoSuchVersion: ProblemType(
        404,
        "unknown-version",
        "This version does not serve the category",
        example="version '7' does not serve the category 'solar-mono'; serving: 1",
    ),
    errors.MalformedRequest: ProblemType(
        400, "malformed-request", "Not an HTTP request", example="the request is not HTTP/1.1"
    ),
    errors.HeadersTooSlow: ProblemType(
        408,
        "headers-too-slow",
        "The headers did not arrive in time",
        example="the headers did not arrive within 10 s",
        advice=_LOOK_AT_NETWORK,
    ),
    errors.BodyTooSlow: ProblemType(
        408,
        "body-too-slow",
        "The body did not arrive in time",
        example="the body did not arrive in time: 1000 bytes in 20 s",
        advice=_LOOK_AT_NETWORK,
        headers=_CLOSE,
    ),
    errors.NoSuchModel: ProblemType(
        404,
        "unknown-model",
        "No such version in the store",
        example="no version '3' of a model 'solar'; have: solar/1, solar/2",
    ),
    errors.NoArchive: ProblemType(
        404,
        "no-archive",
        "This service keeps no inspections",
        example="this service keeps no inspections: set MAMBAAD_VERSIONS__STATE_DIR",
    ),
    errors.NoSuchInspection: ProblemType(
        404,
        "unknown-inspection",
        "No such inspection, or no such view of it",
        example="no inspection 0192f0c1-2c3a-7def-8123-456789abcdef: the retention may have "
        "deleted it",
    ),
    errors.InvalidCursor: ProblemType(
        400,
        "invalid-cursor",
        "The cursor does not fit this search",
        example="the cursor belongs to another search: send it with the filters of the search "
        "that returned it, or leave `cursor` out to begin at the newest inspection",
    ),
    errors.SearchTooBroad: ProblemType(
        422,
        "search-too-broad",
        "The search takes too long",
        example="the search was not done within 10 s: name a part, job, station or category, or a "
        "shorter time with `since` and `until`",
    ),
    errors.MediaNotKept: ProblemType(
        404,
        "media-not-kept",
        "The archive never had this image or raw map",
        example="the image of view 0 was not kept: MAMBAAD_ARCHIVE__KEEP_IMAGES keeps a share of "
        "the OK parts",
    ),
    errors.MediaDeleted: ProblemType(
        410,
        "media-deleted",
        "This image or raw map was deleted",
        example="the image of view 0 was deleted at 2026-11-29T03:00:12Z",
    ),
    errors.MediaDamaged: ProblemType(
        409,
        "media-damaged",
        "The file of this image or raw map is not the one that was written",
        example="the file of the image of view 0 was altered: restore it from a backup; "
        "`mambaad archive check` lists all such files",
    ),
    errors.OnOtherNode: ProblemType(
        409,
        "on-other-node",
        "Another node has this",
        example="the image of view 0 is on the node 'line-2': ask that service",
    ),
    errors.NoSuchSink: ProblemType(
        404,
        "unknown-sink",
        "No sink has this name",
        example="there is no sink 'mse'; have: archive, mes",
    ),
    errors.Conflict: ProblemType(
        409,
        "conflict",
        "The current state does not allow this",
        example="solar/1 is the stable version of 'solar-mono': route that to another first",
    ),
    errors.ModelRefused: ProblemType(
        409,
        "model-refused",
        "The version cannot be loaded",
        example="solar/2 was not loaded, and nothing has changed: network.safetensors is not the "
        "file that was saved",
    ),
    errors.BodyTooLarge: ProblemType(
        413,
        "body-too-large",
        "Too many bytes",
        example="an image may have 33554432 bytes, got 40000000",
        advice=_SEND_LESS,
    ),
    errors.ImageTooLarge: ProblemType(
        413,
        "image-too-large",
        "The image is too large or too expensive to decode",
        example="an image may have 50000000 pixels, got 50000 x 50000 = 2500000000",
        advice=_SEND_LESS,
    ),
    errors.AnswerTooLarge: ProblemType(
        413,
        "answer-too-large",
        "The answer is too large",
        example="the heatmaps of one answer may have 268435456 bytes: request fewer",
        advice=_SEND_LESS,
    ),
    errors.UnsupportedImage: ProblemType(
        415,
        "unsupported-image",
        "Not a supported image format",
        example="not a supported image format; supported: JPEG, PNG, BMP, TIFF, WebP, PPM",
        advice=_SEND_FORMAT,
    ),
    errors.UnsupportedEncoding: ProblemType(
        415,
        "unsupported-encoding",
        "Not a supported encoding",
        example="Content-Encoding 'br' is not supported; supported: gzip, deflate",
        advice=_SEND_FORMAT,
        headers={"Accept-Encoding": "gzip, deflate"},
    ),
    errors.UnsupportedCharset: ProblemType(
        415,
        "unsupported-charset",
        "Not a supported charset",
        example="the form declares the charset 'latin-1'; expected UTF-8",
        advice=_SEND_UTF8,
    ),
    errors.InvalidRequest: ProblemType(
        422,
        "invalid-request",
        "A field is missing or invalid",
        example="no category: expected it as ?category= or as a form field",
        advice=_REPAIR_FIELD,
    ),
    errors.IdempotencyKeyReused: ProblemType(
        422,
        "idempotency-key-reused",
        "The Idempotency-Key belongs to another request",
        example="this Idempotency-Key was used with another body, Content-Type or path: use a "
        "new key for each new request, and the same key only to repeat one",
        advice=_REPAIR_FIELD,
    ),
    errors.UndecodableImage: ProblemType(
        422,
        "undecodable-image",
        "The image cannot be decoded",
        example="the PNG image of 2000 bytes is truncated or damaged: expected a complete image "
        "file",
        advice=_TAKE_AGAIN,
    ),
    errors.RateLimited: ProblemType(
        429,
        "rate-limited",
        "Too many requests",
        example="'line-3' may send 20 images a second; try again in 1 s",
        advice=_WAIT,
        throttles=True,
    ),
    errors.HeadersTooLarge: ProblemType(
        431,
        "headers-too-large",
        "Too many bytes of headers",
        example="headers may have 32768 bytes, got more",
    ),
    errors.ClientGone: ProblemType(499, "client-gone", "The client closed the connection"),
    errors.NonFiniteResult: ProblemType(
        500,
        "non-finite-result",
        "The network's score is not a number",
        example="the network's score of this image is not a finite number: the part is UNDECIDED",
        advice=_READ_LOG,
    ),
    errors.InspectionFailed: ProblemType(
        500,
        "inspection-failed",
        "The image could not be inspected",
        example="the network failed on this image: the part is UNDECIDED",
        advice=_READ_LOG,
    ),
    errors.TooManyConnections: ProblemType(
        503,
        "too-many-connections",
        "Too many connections are open",
        example="too many connections are open: close idle ones",
        advice=_TRY_AGAIN,
    ),
    errors.BodiesFull: ProblemType(
        503,
        "bodies-full",
        "Too many bytes are in memory",
        example="requests in progress take 2147483648 bytes, which is the limit",
        advice=_TRY_AGAIN,
        throttles=True,
    ),
    errors.QueueFull: ProblemType(
        503,
        "queue-full",
        "Too many images are waiting",
        example="128 images are waiting, which is the limit",
        advice=_TRY_AGAIN,
        throttles=True,
    ),
    errors.NoWorkerReady: ProblemType(
        503,
        "no-worker-ready",
        "No worker is ready",
        example="no worker is ready: they are starting or restarting",
        advice=_TRY_AGAIN,
    ),
    errors.WorkerLost: ProblemType(
        503,
        "worker-lost",
        "The worker died on this image",
        example="the worker died while it processed this image, which was not inspected",
        advice=_TRY_AGAIN,
    ),
    errors.KeysUnreadable: ProblemType(
        503,
        "keys-unreadable",
        "API keys cannot be checked",
        example="the keys file could not be read for 901 s, so no key is valid",
        advice="make the keys file readable for the service; its log says what is wrong",
    ),
    errors.StateNotWritten: ProblemType(
        503,
        "state-not-written",
        "The change could not be saved",
        example="the change could not be saved and was not made: No space left on device",
    ),
    errors.JournalUnavailable: ProblemType(
        503,
        "journal-unavailable",
        "The archive cannot be used",
        example="the journal cannot be written: the disk is full; free some space",
        advice="make room on the service's disk, or make it writable; its log says what is wrong",
    ),
    errors.ArchiveUnavailable: ProblemType(
        503,
        "archive-unavailable",
        "The archive cannot be used",
        example="the archive's PostgreSQL (postgresql+psycopg://db.plant/mambaad) cannot be used: "
        "connection refused",
    ),
    errors.CheckpointUnavailable: ProblemType(
        503,
        "checkpoint-unavailable",
        "The checkpoint cannot be loaded",
        example="checkpoint solar/2, which serves 'solar-mono', cannot be loaded",
        advice=_TRY_AGAIN,
    ),
    errors.DeadlineExceeded: ProblemType(
        504,
        "deadline-exceeded",
        "Not inspected in time",
        example="not inspected within 30 s",
        advice=_TOO_LATE,
        throttles=True,
    ),
}
