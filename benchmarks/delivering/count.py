"""What each receiver has, beside what the line was answered."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import func, select

from benchmarks.delivering.line import Answer, Line
from benchmarks.delivering.site import Site
from service.archive.tables import inspections, rollups
from tests.service.delivery.broker import first_appearances, out_of_order


def count(site: Site, line: Line) -> dict[str, dict[str, Any]]:
    """Return the result of each sink: missing, wrong and repeated results, breaches of order."""
    messages = {
        "broker": site.listener.messages,
        "webhook": site.receiver.taken,
        "folder": read_folder(site.results),
    }
    counted = {name: _of_messages(of_sink, line) for name, of_sink in messages.items()}
    return {**counted, "database": _of_rows(site, line)}


def read_folder(folder: Path) -> list[dict[str, Any]]:
    """Return the messages of all complete files, in the order in which they appeared."""
    files = sorted(folder.glob("*.jsonl"), key=lambda file: (file.stat().st_mtime_ns, file.name))
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def _of_messages(messages: Sequence[dict[str, Any]], line: Line) -> dict[str, Any]:
    first = first_appearances(messages)
    told = {message["inspection_id"]: message["told"]["decision"] for message in first}
    return {
        **_compared(told, line),
        "repeats": len(messages) - len(first),
        "out_of_order": len(out_of_order(messages)),
    }


def _of_rows(site: Site, line: Line) -> dict[str, Any]:
    with site.engine.connect() as connection:
        rows = connection.execute(select(inspections.c.inspection_id, inspections.c.told)).all()
        parts = connection.execute(select(func.sum(rollups.c.parts))).scalar_one()
    told = {str(identifier): decision for identifier, decision in rows}
    return {**_compared(told, line), "repeats": int(parts) - len(rows), "out_of_order": 0}


def _compared(told: dict[str, str], line: Line) -> dict[str, Any]:
    answers = line.answers
    return {
        "delivered": len(told),
        "answered": len(answers),
        "missing": len(answers.keys() - told.keys()),
        "differs": sum(
            answers[key].decision != decision for key, decision in told.items() if key in answers
        ),
    }


def holds(counted: dict[str, dict[str, Any]], drained: dict[str, float]) -> bool:
    """Return whether every sink has everything, in order."""
    return counted.keys() == drained.keys() and all(
        of_sink[name] == 0
        for of_sink in counted.values()
        for name in ("missing", "differs", "out_of_order")
    )


def latencies(answers: Sequence[Answer]) -> dict[str, float]:
    """Return the milliseconds of answers that came at the first try."""
    ms = [1000 * answer.seconds for answer in answers if answer.tries == 1]
    if not ms:
        return {}
    median, p99 = np.percentile(ms, [50, 99]).tolist()
    return {"answers": len(ms), "median_ms": round(median, 1), "p99_ms": round(p99, 1)}
