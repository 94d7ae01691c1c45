"""A worker takes no more memory than its limit, and survives a load that would."""

import asyncio
import json
import logging
import resource
import subprocess
import sys

import pytest

from model.checkpoints.key import CheckpointKey
from service.workers.child import ceiling
from service.workers.child.ceiling import ceiling_bytes, memory_bytes
from service.workers.pipe.messages import LoadReport, WorkerPlan
from service.workers.process import WorkerProcess

GB = 2**30


def test_by_default_it_is_what_the_machine_has(monkeypatch, tmp_path):
    assert ceiling_bytes("cpu", None) == max(4 * GB, memory_bytes())
    assert ceiling_bytes("cpu", GB) == GB
    assert ceiling_bytes("cuda:0", GB) is None
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(ceiling, "_CONTAINER", limit)
    machine = memory_bytes()
    for limit_text, expected in (("max", machine), (str(2**60), machine), ("5000000", 5_000_000)):
        limit.write_text(f"{limit_text}\n")
        assert memory_bytes() == expected
    assert ceiling_bytes("cpu", None) == 4 * GB


def test_an_allocation_beyond_it_is_an_error():
    code = (
        "from service.workers.child.ceiling import set_ceiling; set_ceiling(2**28)\n"
        "try: bytearray(2**29)\n"
        "except MemoryError: print('refused', len(bytearray(2**20)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "refused 1048576\n"


def test_where_there_can_be_none_the_log_says_so(monkeypatch, caplog):
    def refuse(*_):
        raise ValueError("not here")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    with caplog.at_level(logging.WARNING, "service"):
        ceiling.set_ceiling(GB)
    assert "has no limit: not here" in caplog.text


@pytest.mark.long
def test_a_load_beyond_it_is_refused_and_what_was_loaded_serves_on(save, tmp_path):
    root = tmp_path / "weights"
    save(root, "good", {"bolt": 1.0})
    manifest = save(root, "hostile", {"bolt": 1.0}) / "manifest.json"
    values = json.loads(manifest.read_text("utf-8"))
    values["network"]["image_size"] = values["preprocessing"]["image_size"] = [2048, 2048]
    manifest.write_text(json.dumps(values), "utf-8")
    plan = WorkerPlan(
        "cpu", "cpu", "auto", 1, root, "INFO", max_batch_size=1, max_memory_bytes=900_000_000
    )

    async def load_both():
        process = WorkerProcess(plan)
        await process.start(120)
        try:
            return [
                (await process.load(CheckpointKey(name, "1"), 240)).loaded
                for name in ("good", "hostile", "good")
            ]
        finally:
            await process.stop(5)

    first, hostile, again = asyncio.run(load_both())
    assert isinstance(first, LoadReport)
    assert hostile == (
        "it needs more memory than the 900000000 bytes that the worker may use "
        "(MAMBAAD_WORKERS__MAX_MEMORY_BYTES)"
    )
    assert isinstance(again, LoadReport)
