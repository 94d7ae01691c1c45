"""Which alerts the service itself can tell, by its own metrics, and which of them hold now.

Prometheus watches over time; this is the moment. A condition is understood if it compares one gauge
with a number.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from service.console.system.runbooks import Runbook
from service.telemetry.metrics import Metrics

_SIMPLE = re.compile(r"(mambaad_\w+) (==|>|<) ([\d.]+)")
_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}


def holding(metrics: Metrics, runbooks: Iterable[Runbook]) -> Mapping[str, Sequence[str]]:
    """Return what each alert holds for, such as a worker's name; "" if it has no labels.

    An alert that holds for nothing has an empty list; one that the service cannot tell is left out.
    """
    families = {family.name: family for family in metrics.registry.collect()}
    told: dict[str, Sequence[str]] = {}
    for runbook in runbooks:
        match = _SIMPLE.fullmatch(runbook.condition)
        if match is None or match[1] not in families:
            continue
        compare, limit = _COMPARED[match[2]], float(match[3])
        told[runbook.name] = [
            " · ".join(sample.labels.values())
            for sample in families[match[1]].samples
            if compare(sample.value, limit)
        ]
    return told
