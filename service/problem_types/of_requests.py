"""The answers to faults of a request, of its client, or of a name in it."""

from service import errors
from service.problem_types import advice
from service.problem_types.kind import ProblemType

# Else the server would parse the unread part of the body as the next request.
_CLOSE = {"Connection": "close"}

OF_REQUESTS: dict[type[errors.ServiceError], ProblemType] = {
    errors.MalformedBody: ProblemType(
        400,
        "malformed-body",
        "The body cannot be parsed",
        example="the form cannot be read: its Content-Type has no boundary",
        advice=advice.REPAIR_BODY,
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
        advice=advice.GIVE_KEY,
        headers={"WWW-Authenticate": 'Bearer realm="mambaad"'},
    ),
    errors.Forbidden: ProblemType(
        403,
        "forbidden",
        "The caller may not do this",
        example="'line-3' has the scope detect, but this needs admin",
        advice=advice.GIVE_KEY,
    ),
    errors.NoSuchCategory: ProblemType(
        404,
        "unknown-category",
        "No checkpoint serves this category",
        example="no checkpoint serves the category 'botle'; have: solar-mono, solar-poly",
        advice=advice.REPAIR_NAME,
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
        advice=advice.LOOK_AT_NETWORK,
    ),
    errors.BodyTooSlow: ProblemType(
        408,
        "body-too-slow",
        "The body did not arrive in time",
        example="the body did not arrive in time: 1000 bytes in 20 s",
        advice=advice.LOOK_AT_NETWORK,
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
        advice=advice.SEND_LESS,
    ),
    errors.ImageTooLarge: ProblemType(
        413,
        "image-too-large",
        "The image is too large or too expensive to decode",
        example="an image may have 50000000 pixels, got 50000 x 50000 = 2500000000",
        advice=advice.SEND_LESS,
    ),
    errors.AnswerTooLarge: ProblemType(
        413,
        "answer-too-large",
        "The answer is too large",
        example="the pictures of one answer may have 268435456 bytes: request fewer",
        advice=advice.SEND_LESS,
    ),
    errors.UnsupportedImage: ProblemType(
        415,
        "unsupported-image",
        "Not a supported image format",
        example="not a supported image format; supported: JPEG, PNG, BMP, TIFF, WebP, PPM",
        advice=advice.SEND_FORMAT,
    ),
    errors.UnsupportedEncoding: ProblemType(
        415,
        "unsupported-encoding",
        "Not a supported encoding",
        example="Content-Encoding 'br' is not supported; supported: gzip, deflate",
        advice=advice.SEND_FORMAT,
        headers={"Accept-Encoding": "gzip, deflate"},
    ),
    errors.UnsupportedCharset: ProblemType(
        415,
        "unsupported-charset",
        "Not a supported charset",
        example="the form declares the charset 'latin-1'; expected UTF-8",
        advice=advice.SEND_UTF8,
    ),
    errors.InvalidRequest: ProblemType(
        422,
        "invalid-request",
        "A field is missing or invalid",
        example="no category: expected it as ?category= or as a form field",
        advice=advice.REPAIR_FIELD,
    ),
    errors.IdempotencyKeyReused: ProblemType(
        422,
        "idempotency-key-reused",
        "The Idempotency-Key belongs to another request",
        example="this Idempotency-Key was used with another body, Content-Type or path: use a "
        "new key for each new request, and the same key only to repeat one",
        advice=advice.REPAIR_FIELD,
    ),
    errors.InvalidInspectionId: ProblemType(
        400,
        "invalid-inspection-id",
        "Not an inspection id",
        example="expected a UUIDv7 such as 0192f0c1-2c3a-7def-8123-456789abcdef, got 'part 7'",
        advice=advice.REPAIR_ID,
    ),
    errors.InspectionIdReused: ProblemType(
        409,
        "inspection-id-reused",
        "The inspection id belongs to another part",
        example="the inspection 0192f0c1-2c3a-7def-8123-456789abcdef has other images: use a new "
        "id for each part, and the same id only to repeat a request",
        advice=advice.REPAIR_ID,
    ),
    errors.MapNotKept: ProblemType(
        409,
        "map-not-kept",
        "The anomaly map is no longer there",
        example="the part was decided NG, but its anomaly map is no longer there, so the same "
        "answer cannot be given again: use the decision",
        advice="use the decision that `detail` names, or inspect the part under a new id",
    ),
    errors.UndecodableImage: ProblemType(
        422,
        "undecodable-image",
        "The image cannot be decoded",
        example="the PNG image of 2000 bytes is truncated or damaged: expected a complete image "
        "file",
        advice=advice.TAKE_AGAIN,
    ),
    errors.RateLimited: ProblemType(
        429,
        "rate-limited",
        "Too many requests",
        example="'line-3' may send 20 images a second; try again in 1 s",
        advice=advice.WAIT,
        throttles=True,
    ),
    errors.HeadersTooLarge: ProblemType(
        431,
        "headers-too-large",
        "Too many bytes of headers",
        example="headers may have 32768 bytes, got more",
    ),
    errors.ClientGone: ProblemType(499, "client-gone", "The client closed the connection"),
}
