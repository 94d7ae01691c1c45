"""Each image's scores as a CSV or JSON file, and read back.

    write_scores(Path("scores.csv"), evaluation.records, Path("data/gasket"))
    records = read_scores(Path("scores.csv"))

Floats are written so that they are read as the same floats. In a CSV, text that a spreadsheet could
take for a formula begins with an apostrophe; reading removes it.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from model.dataset import Sample
from model.durable import replace_file
from model.errors import ConfigError, DatasetError, ModelError
from model.evaluation.results import ImageRecord
from model.inspection import Decision

SUFFIXES = (".csv", ".json")
COLUMNS = (
    "image", "category", "truth", "defect", "score", "raw_score", "threshold", "decision", "area"
)  # fmt: skip
_TEXTS = ("image", "category", "truth", "defect", "decision")
_NUMBERS = ("score", "raw_score", "threshold")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
"""First characters that a spreadsheet may act on, and the apostrophe: reading removes one."""


def check_suffix(file: Path) -> None:
    """Raise `ConfigError` for a file that is neither CSV nor JSON."""
    if file.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--scores writes a .csv or a .json file, got {str(file)!r}")


def write_scores(file: Path, records: Iterable[ImageRecord], data: Path) -> None:
    """Write a row for each image, its path relative to the folder `data` if it lies there.

    Raises `ModelError` if the file cannot be written.
    """
    check_suffix(file)
    rows = [_row(record, data) for record in records]
    text = _as_csv(rows) if file.suffix.lower() == ".csv" else json.dumps(rows, indent=1) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # File names may have any bytes.
        replace_file(file, text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise ModelError(f"cannot write the scores {file}: {error}") from error


def read_scores(file: Path) -> list[ImageRecord]:
    """Read the rows of `write_scores`; raises `DatasetError` for other content.

    The records have the paths in the file, and no masks.
    """
    check_suffix(file)
    try:
        text = file.read_bytes().decode("utf-8", "surrogateescape")
        rows = _from_csv(text) if file.suffix.lower() == ".csv" else json.loads(text)
        return [_record(row) for row in rows]
    except OSError as error:
        raise DatasetError(f"cannot read the scores {file}: {error}") from error
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        wanted = ", ".join(COLUMNS)
        raise DatasetError(f"{file} has no scores with {wanted}: {error}") from error


def relative_name(path: Path, data: Path) -> str:
    """Return a path relative to `data` with forward slashes, or as it is if it lies elsewhere."""
    for folder in (data, data.resolve()):
        if path.is_relative_to(folder) and path != folder:
            return path.relative_to(folder).as_posix()
    return str(path)


def _row(record: ImageRecord, data: Path) -> dict[str, Any]:
    sample = record.sample
    return {
        "image": relative_name(sample.path, data),
        "category": sample.category,
        "truth": "good" if sample.is_good else "defective",
        "defect": "" if sample.is_good else sample.defect,
        "score": record.score,
        "raw_score": record.raw_score,
        "threshold": record.threshold,
        "decision": str(record.decision),
        "area": record.area,
    }


def _record(row: Mapping[str, Any]) -> ImageRecord:
    defect = str(row["defect"]) if row["truth"] == "defective" else "good"
    return ImageRecord(
        sample=Sample(Path(row["image"]), row["category"], defect),
        score=float(row["score"]),
        raw_score=float(row["raw_score"]),
        threshold=float(row["threshold"]),
        decision=Decision(row["decision"]),
        area=None if row["area"] in (None, "") else float(row["area"]),
    )


def _as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    written = io.StringIO(newline="")
    table = csv.writer(written)
    table.writerow(COLUMNS)
    for row in rows:
        numbers = {name: repr(row[name]) for name in _NUMBERS}
        area = "" if row["area"] is None else repr(row["area"])
        cells = {**{name: _harmless(row[name]) for name in _TEXTS}, **numbers, "area": area}
        table.writerow([cells[name] for name in COLUMNS])
    return written.getvalue()


def _from_csv(text: str) -> list[dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    return [{k: v.removeprefix("'") if k in _TEXTS else v for k, v in row.items()} for row in rows]


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
