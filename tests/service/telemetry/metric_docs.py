"""Writes the table of metrics in docs/operate.md from their declarations.

Run `python -m tests.service.telemetry.metric_docs`.
"""

from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from service.telemetry.metrics import Metrics

PAGE = Path(__file__).parents[3] / "docs" / "operate.md"
BEGIN = "<!-- made by python -m tests.service.telemetry.metric_docs: begin -->"
END = "<!-- made by python -m tests.service.telemetry.metric_docs: end -->"


def table(metrics: Metrics) -> str:
    """Return a row for each metric: name, type, labels, help."""
    rows = [
        f"| `{_name(metric)}` | {metric._type} "
        f"| {', '.join(f'`{label}`' for label in metric._labelnames)} "
        f"| {metric._documentation} |"
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
    ]
    return "\n".join(["| Metric | Type | Labels | Meaning |", "|---|---|---|---|", *rows])


def _name(metric: MetricWrapperBase) -> str:
    return metric._name + ("_total" if metric._type == "counter" else "")


def main() -> None:
    before, _, remainder = PAGE.read_text("utf-8").partition(BEGIN)
    after = remainder.partition(END)[2]
    made = table(Metrics(CollectorRegistry()))
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
