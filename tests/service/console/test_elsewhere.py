"""From another machine: over plain HTTP only reading and reviewing, over TLS all that a key may.

The other machine is a network namespace with an address of its own.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

from service.settings import AccessSettings, HttpSettings
from tests.certificates import write_pair
from tests.service.conftest import running
from tests.service.console.conftest import settings_of

HERE, THERE = "10.213.97.1", "10.213.97.2"

VISIT = """
import json, re, sys, httpx
from service.client.trust import trust
url, key, authority = sys.argv[1:]
with httpx.Client(base_url=url, verify=trust(authority or None), timeout=60) as client:
    html = {"Accept": "text/html"}
    form = client.get("/console/sign-in", headers=html)
    token = re.search(r'name="token" value="([0-9a-f]+)"', form.text)[1]
    answer = client.post("/console/sign-in", data={"token": token, "key": key})
    page = client.get("/console/history", headers=html)
    nav = re.search(r"<nav.*?</nav>", page.text, re.DOTALL)[0]
    print(json.dumps({
        "signed in": answer.status_code, "history": page.status_code,
        "menu": re.findall(r'href="/console/(\\w+)"', nav),
        "secure": "secure" in answer.headers["set-cookie"].lower(),
    }))
"""


_NUMBERS = itertools.count()


@contextmanager
def other_machine():
    """Make a second machine; yield its name."""
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("a network namespace needs root and `ip` (iproute2)")
    name = f"p{os.getpid()}n{next(_NUMBERS)}"  # an interface's name has 15 characters at most
    near, far = f"{name}a"[-15:], f"{name}b"[-15:]
    try:
        subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine allows no network namespace: {error.stderr.decode().strip()}")
    try:
        for words in (
            f"link add {near} type veth peer name {far} netns {name}",
            f"addr add {HERE}/30 dev {near}",
            f"link set {near} up",
            f"-n {name} addr add {THERE}/30 dev {far}",
            f"-n {name} link set {far} up",
        ):
            subprocess.run(["ip", *words.split()], check=True, capture_output=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_another_machine_does_over_plain_http_what_strangers_may_see(
    weights, tmp_path, samples_dir, keys_file, secrets, is_encrypted
):
    pair = write_pair(tmp_path, names=(HERE,))
    rooms = {
        "access": AccessSettings(api_keys_file=keys_file),
        "http": HttpSettings(shutdown_grace_s=0, **(pair.settings if is_encrypted else {})),
    }
    settings = settings_of(weights, tmp_path / "state", samples_dir).model_copy(update=rooms)
    with other_machine() as name, running(settings, HERE) as server:
        authority = str(pair.certificate) if is_encrypted else ""
        command = ["ip", "netns", "exec", name, sys.executable, "-c", VISIT]
        done = subprocess.run(
            [*command, server.url, secrets["engineer"], authority],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["signed in"], seen["history"], seen["secure"]) == (303, 200, is_encrypted)
    common = ["live", "history", "review", "thresholds"]
    assert seen["menu"] == [*common, *(["models", "system"] if is_encrypted else []), "try"]
