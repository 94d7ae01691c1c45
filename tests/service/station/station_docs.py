"""Writes the tables of docs/station.md from the code.

Run `python -m tests.service.station.station_docs`. It also draws the diagram of the states.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from service.station.machine.diagram import replace_diagram
from service.station.machine.faults import ErrorCode
from service.station.machine.states import Command, CommandResult, State
from service.station.machine.verdicts import FailSafe, Reason, Verdict
from service.station.pages.metrics import StationMetrics
from service.station.plc.modbus_map import Places, symbols
from service.station.settings import StationSettings
from service.station.simulating.actions import HELP
from tests.service.telemetry.metric_docs import table

DOCUMENT = Path(__file__).parents[3] / "docs" / "station.md"


def registers() -> str:
    rows = [f"| {at} | {one} | {bit} | `{name}` | {kind} | {meaning} |"
            for name, _, kind, at, one, bit, meaning in symbols(Places())]  # fmt: skip
    head = "| From 0 | From 1 | Bit | Name | Type | Means |\n|---|---|---|---|---|---|\n"
    inputs = sum(writer == "PLC" for _, writer, *_ in symbols(Places()))
    return (
        f"The PLC writes:\n\n{head}" + "\n".join(rows[:inputs])
        + f"\n\nThe station writes:\n\n{head}" + "\n".join(rows[inputs:]) + "\n"
    )  # fmt: skip


def codes() -> str:
    kinds = {
        "State": State,
        "ReqCommand": Command,
        "CommandResult": CommandResult,
        "ErrorCode": ErrorCode,
        "Verdict": Verdict,
        "FailSafe": FailSafe,
        "Reason": Reason,
    }
    rows = [
        f"| `{name}` | {', '.join(f'{code.value} {words(code.name)}' for code in kind)} |"
        for name, kind in kinds.items()
    ]
    return "| Register | Values |\n|---|---|\n" + "\n".join(rows) + "\n"


def words(name: str) -> str:
    return name.replace("_", " ")


def keys() -> str:
    rows = [f"| `{key}` | {default} | {text} |" for key, default, text in _keys(StationSettings)]
    return "| Key | Default | Means |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _keys(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        key = f"{above}{name}"
        inner = _model_in(field.annotation)
        if inner is None:
            yield key, _default(field.default), str(field.description)
            continue
        is_map = getattr(field.annotation, "__origin__", None) is dict
        yield from _keys(inner, f"{key}.{'NAME.' if is_map else ''}")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    for kind in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "needed"
    if value in (None, ""):
        return ""
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    text = str(value).lower() if isinstance(value, bool) else f"{value}"
    return f"`{text}`"


def metrics() -> str:
    return table(StationMetrics(CollectorRegistry())) + "\n"


def steps() -> str:
    return f"```text\n{HELP}```\n"


PARTS = {
    "registers": registers,
    "codes": codes,
    "keys": keys,
    "the steps": steps,
    "metrics": metrics,
}


def replaced(document: str) -> str:
    """Return the document with present tables between their marks."""
    for name, part in PARTS.items():
        begin, end = f"<!-- {name} from the code: begin -->\n", f"<!-- {name}: end -->\n"
        before, found, rest = document.partition(begin)
        _, closed, after = rest.partition(end)
        assert found, name
        assert closed, name
        document = f"{before}{begin}{part()}{end}{after}"
    return replace_diagram(document)


if __name__ == "__main__":
    DOCUMENT.write_text(replaced(DOCUMENT.read_text("utf-8")), "utf-8")
