"""The traffic of a soak: good images, bad ones, clients that hang up, loads, hostile requests."""

import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx

from benchmarks.soaking.exchange import ANSWER_S, exchange
from benchmarks.soaking.tally import Tally
from tests.hostile_framing import HostileRequest

CLIENTS = 4
RETRY_S = 0.5
"""Pause of a client after a refusal."""

PAUSE_S = 0.1
"""Pause between hostile requests."""


class Traffic:
    """Threads that post, hang up, load and unload until they are stopped."""

    def __init__(
        self,
        url: str,
        bodies: dict[str, list[bytes]],
        spare: str,
        tally: Tally,
        hostile: Sequence[HostileRequest] = (),
    ) -> None:
        self._url, self._bodies, self._spare, self._tally = url, bodies, spare, tally
        self._hostile = hostile
        self._done = threading.Event()
        self._first_results: dict[tuple[str, int], tuple[str, float]] = {}
        self._threads = [
            threading.Thread(target=self._client, args=(number,)) for number in range(CLIENTS)
        ]
        self._threads.append(threading.Thread(target=self._change))
        self._threads.append(threading.Thread(target=self._attack))

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Run the traffic during the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._done.set()
            for thread in self._threads:
                thread.join()

    def _client(self, number: int) -> None:
        dice = random.Random(number)
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._done.is_set():
                deed = dice.choices((self._good, self._bad, self._gone), (70, 20, 10))[0]
                try:
                    deed(client, dice)
                except httpx.HTTPError as error:
                    self._tally.wrong.append(repr(error))

    def _good(self, client: httpx.Client, dice: random.Random) -> None:
        category = dice.choice(list(self._bodies))
        which = dice.randrange(len(self._bodies[category]))
        params = {"category": category, "heatmap": dice.choice(("none", "none", "map", "overlay"))}
        response = client.post("/detect", params=params, content=self._bodies[category][which])
        self._tally.expect("good", response, {200})
        if response.status_code != 200:
            self._done.wait(RETRY_S)
            return
        (result,) = response.json()["results"]
        decision, score = self._first_results.setdefault(
            (category, which), (result["decision"], result["raw_score"])
        )
        if result["decision"] != decision or abs(result["raw_score"] - score) > 1e-3 * score:
            self._tally.wrong.append(f"{category} {which}: {result}")

    def _bad(self, client: httpx.Client, dice: random.Random) -> None:
        category = dice.choice(list(self._bodies))
        image = self._bodies[category][0]
        content = dice.choice((b"", b"text", image[: len(image) // 2], bytes(10**6)))
        name = dice.choice((category, category, "../x"))
        response = client.post("/detect", params={"category": name}, content=content)
        self._tally.expect("bad", response, {404, 415, 422})

    def _gone(self, _: httpx.Client, dice: random.Random) -> None:
        category = dice.choice(list(self._bodies))
        image = self._bodies[category][0]
        host, _, port = self._url.rpartition("//")[2].partition(":")
        head = f"POST /detect?category={category} HTTP/1.1\r\nHost: {host}\r\n"
        head += f"Content-Length: {len(image)}\r\n\r\n"
        sent = head.encode() + image
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(sent[: dice.choice((len(head), len(sent) // 2, len(sent)))])
            time.sleep(dice.uniform(0, 0.1))
        self._tally.outcomes["gone"] += 1

    def _change(self) -> None:
        with httpx.Client(base_url=self._url, timeout=120) as client:
            while not self._done.wait(2):
                for change in ("load", "unload"):
                    response = client.post(f"/models/{self._spare}/{change}")
                    self._tally.expect(change, response, {200, 409})

    def _attack(self) -> None:
        """Send every hostile request, in a new order each round."""
        dice = random.Random(CLIENTS)
        while self._hostile and not self._done.is_set():
            for request in dice.sample(self._hostile, len(self._hostile)):
                started = time.monotonic()
                try:
                    reply = exchange(self._url, request.content)
                except TimeoutError:
                    self._tally.wrong.append(f"{request}: no answer within {ANSWER_S} s")
                else:
                    self._tally.expect_refusal(str(request), reply)
                self._tally.sent.append((started, time.monotonic(), str(request)))
                if self._done.wait(PAUSE_S):
                    return
