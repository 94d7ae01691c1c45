"""The answers to faults of the service, of its machine, or of its load."""

from service import errors
from service.problem_types import advice
from service.problem_types.kind import ProblemType

OF_THE_SERVICE: dict[type[errors.ServiceError], ProblemType] = {
    errors.NonFiniteResult: ProblemType(
        500,
        "non-finite-result",
        "The network's score is not a number",
        example="the network's score of this image is not a finite number: the part is UNDECIDED",
        advice=advice.READ_LOG,
    ),
    errors.InspectionFailed: ProblemType(
        500,
        "inspection-failed",
        "The image could not be inspected",
        example="the network failed on this image: the part is UNDECIDED",
        advice=advice.READ_LOG,
    ),
    errors.TooManyConnections: ProblemType(
        503,
        "too-many-connections",
        "Too many connections are open",
        example="too many connections are open: close idle ones",
        advice=advice.TRY_AGAIN,
    ),
    errors.BodiesFull: ProblemType(
        503,
        "bodies-full",
        "Too many bytes are in memory",
        example="requests in progress take 2147483648 bytes, which is the limit",
        advice=advice.TRY_AGAIN,
        throttles=True,
    ),
    errors.QueueFull: ProblemType(
        503,
        "queue-full",
        "Too many images are waiting",
        example="128 images are waiting, which is the limit",
        advice=advice.TRY_AGAIN,
        throttles=True,
    ),
    errors.NoWorkerReady: ProblemType(
        503,
        "no-worker-ready",
        "No worker is ready",
        example="no worker is ready: they are starting or restarting",
        advice=advice.TRY_AGAIN,
    ),
    errors.WorkerLost: ProblemType(
        503,
        "worker-lost",
        "The worker died on this image",
        example="the worker died while it processed this image, which was not inspected",
        advice=advice.TRY_AGAIN,
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
    errors.SharedStateUnavailable: ProblemType(
        503,
        "shared-state-unavailable",
        "The shared state cannot be changed",
        example="the PostgreSQL of the shared state (postgresql://db.plant/mambaad) cannot be "
        "used: connection refused; nothing was changed, and inspections go on from the last state",
        advice="see to the PostgreSQL of the shared state, then make the change again",
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
        advice=advice.TRY_AGAIN,
    ),
    errors.DeadlineExceeded: ProblemType(
        504,
        "deadline-exceeded",
        "Not inspected in time",
        example="not inspected within 30 s",
        advice=advice.TOO_LATE,
        throttles=True,
    ),
}
