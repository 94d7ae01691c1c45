"""The logic of one call to the service, with its retries, but without I/O.

A call is a generator: it yields steps for its client (`Send` a request or `Pause`), receives each
outcome (a response, or httpx's error), and returns the call's result. So the blocking and the async
client share the same rules.
"""

import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import httpx

from service.client.addresses import Addresses
from service.client.errors import (
    CannotConnect,
    ConnectionLost,
    InspectionError,
    UnexpectedAnswer,
    out_of_time,
)
from service.client.images import File
from service.client.results import read_problem

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_TOO_MANY, _LATE = 429, 504
_REFUSED = (_TOO_MANY, 503)
_BYTES = "application/octet-stream"
_MOST_WITH_HEATMAPS = 2**29
_MOST_WITHOUT = 2**22
_MOST_OF_AN_IMAGE = 2**16
_MOST_OF_A_PAGE = 2**26
INSPECTIONS = "/inspections"
_CONNECT_S = 2.0
"""With another address to go to, a connection must be there after one lost packet."""
_TRAVEL_S = 0.1
"""The socket waits this much longer than the service, and the client this much longer than the
socket, because a 504 or a connection error says more than the client's own timeout."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Rules of retries: `attempts` in total, with pauses that double from `backoff_s`.

    Retried are refused connections, and 429 or 503 with Retry-After; after a broken connection,
    only GET and PUT requests and those with an Idempotency-Key, which `detect` sends by default. No
    retry starts after the deadline.

    With several addresses, a call that may be repeated goes on at the next one, without a pause
    before each had its turn, also after 503 without Retry-After, and if there is no answer in time:
    each address has an equal share of the time. 429 counts for the caller and is waited out.
    """

    attempts: int = 3
    backoff_s: float = 0.2
    max_backoff_s: float = 5.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.backoff_s < 0 or self.max_backoff_s < self.backoff_s:
            raise ValueError(f"expected attempts >= 1 and 0 <= backoff <= max_backoff, got {self}")

    def wait_s(self, attempt: int, dice: Callable[[], float] = random.random) -> float:
        """Return a random pause after an attempt (from 1), so that clients do not retry at once."""
        longest = min(self.max_backoff_s, self.backoff_s * 2.0 ** (attempt - 1))
        return longest * (0.5 + 0.5 * dice())


@dataclass(frozen=True, slots=True)
class Call:
    """One request of the service's API."""

    method: str
    path: str
    timeout_s: float
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[File] = ()
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str] | None = None

    @property
    def most_answer_bytes(self) -> int:
        """The maximum size of the answer: larger with heatmaps and with returned fields."""
        if self.path == INSPECTIONS:
            return _MOST_OF_A_PAGE
        if "heatmap" in self.form or "images" in self.form:
            return _MOST_WITH_HEATMAPS
        fields = 4 * sum(map(len, self.form.values()))
        return _MOST_WITHOUT + len(self.files) * (_MOST_OF_AN_IMAGE + fields)

    @property
    def may_repeat(self) -> bool:
        """Whether the service may receive it twice without harm."""
        may = self.method in ("GET", "PUT") or "Idempotency-Key" in self.headers
        return may or (self.path == INSPECTIONS and self.method == "POST")


@dataclass(frozen=True, slots=True)
class Send:
    """The step of sending the call to an address; `timeout_s` is the time that it has for it."""

    call: Call
    timeout_s: float
    address: httpx.URL
    connect_s: float | None = None

    @property
    def longest_s(self) -> float:
        """Seconds that the client waits for the whole answer."""
        return self.timeout_s + 2 * _TRAVEL_S

    def build(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """Return the request, with the time left in a header.

        A single image is sent as the body, which is cheaper for the service than a form, unless
        there are `meta` or fields of a batch, which may not fit into a URL. Without files, all
        fields are in the URL.
        """
        call = self.call
        raw = len(call.files) == 1 and not {"meta", "images"} & call.form.keys()
        raw = raw or (call.method == "POST" and not call.files)
        left_ms = max(1, round(1000 * self.timeout_s))
        headers = {**call.headers, "X-Request-Timeout-Ms": str(left_ms)}
        parts = [("file", (f.name, f.content, _BYTES)) for f in call.files]
        path = self.address.raw_path.rstrip(b"/") + call.path.encode("ascii")
        url = self.address.copy_with(raw_path=path)
        longest_s = self.timeout_s + _TRAVEL_S
        timeout = httpx.Timeout(longest_s, connect=min(longest_s, self.connect_s or longest_s))
        if call.body is not None:
            return http.build_request(
                call.method, url, headers=headers, json=call.body, timeout=timeout
            )
        return http.build_request(
            call.method,
            url,
            headers=headers | {"Content-Type": _BYTES} if raw else headers,
            params=dict(call.form if raw else call.query) or None,
            content=call.files[0].content if raw and call.files else None,
            data=dict(call.form) or None if not raw else None,
            files=parts or None if not raw else None,
            timeout=timeout,
        )


@dataclass(frozen=True, slots=True)
class Pause:
    """The step of waiting."""

    seconds: float


Step: TypeAlias = Send | Pause
Outcome: TypeAlias = httpx.Response | httpx.RequestError | None


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt without an answer; `wait_s` is the shortest pause before a retry, None: no retry.

    `may_move`: another address may answer.
    """

    error: InspectionError
    wait_s: float | None
    may_move: bool


def exchange(
    call: Call,
    retry: Retry,
    addresses: Addresses,
    expect: Sequence[int] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Step, Outcome, httpx.Response]:
    """Send a call, with retries if they are safe and there is time; return the response.

    A status in `expect` is not a refusal. Raises `CannotConnect`, `ConnectionLost`,
    `DeadlineExceeded`, or the `Problem` of the last refusal.
    """
    deadline = clock() + call.timeout_s
    waiting = list(addresses.in_turn)
    connect_s = _CONNECT_S if len(addresses) > 1 else None
    for attempt in range(1, retry.attempts + 1):
        left_s = deadline - clock()
        if left_s <= 0:
            raise out_of_time(call.timeout_s)
        others = min(len(waiting) - 1, retry.attempts - attempt)
        share_s = left_s / (1 + others) if call.may_repeat else left_s
        outcome = yield Send(call, share_s, waiting[0], connect_s)
        failure = _judge(call, outcome, expect, is_last=not (others and call.may_repeat))
        if failure is None:
            addresses.prefer(waiting[0])
            assert isinstance(outcome, httpx.Response), "an error is a failure"
            return outcome
        if attempt == retry.attempts:
            raise failure.error
        if failure.may_move and others:
            del waiting[0]
            continue
        if failure.wait_s is None:
            raise failure.error
        if failure.may_move:  # each address had its turn
            waiting = list(addresses.in_turn)
        wait_s = max(failure.wait_s, retry.wait_s(attempt))
        if clock() + wait_s >= deadline:
            raise failure.error
        yield Pause(wait_s)
    raise AssertionError("the last attempt returns or raises")


def _judge(call: Call, outcome: Outcome, expect: Sequence[int], *, is_last: bool) -> Failure | None:
    """Say how an attempt failed; None if its response is the answer to the call.

    At the last address, 504 is one: the time is up there.
    """
    if isinstance(outcome, httpx.Response):
        status = outcome.status_code
        if status in expect or status not in (*_REFUSED, _LATE) or (status == _LATE and is_last):
            return None
        problem = read_problem(outcome)
        return Failure(problem, problem.retry_after_s, status != _TOO_MANY)
    if isinstance(outcome, _NOT_SENT):
        error = CannotConnect(f"no connection: {outcome or type(outcome).__name__}")
        return Failure(error, 0.0, may_move=True)
    if isinstance(outcome, httpx.TimeoutException):
        return Failure(out_of_time(call.timeout_s), None, call.may_repeat)
    if isinstance(outcome, httpx.DecodingError):
        unexpected = UnexpectedAnswer(f"the answer cannot be decompressed: {outcome}")
        return Failure(unexpected, None, may_move=False)
    lost = ConnectionLost(f"the connection broke: {outcome or type(outcome).__name__}")
    return Failure(lost, 0.0 if call.may_repeat else None, call.may_repeat)
