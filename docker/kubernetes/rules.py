"""Writes the alerts of docker/prometheus/alerts.yml as the Prometheus operator reads them.

python -m docker.kubernetes.rules
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "docker/prometheus/alerts.yml"
RULE = ROOT / "docker/kubernetes/components/monitoring/alerts.yaml"

HEAD = """\
# Written by `python -m docker.kubernetes.rules`: change docker/prometheus/alerts.yml.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: mambaad
spec:
"""


def rule_of(alerts: str) -> str:
    """Return the PrometheusRule with these groups of rules."""
    return HEAD + "".join(f"  {line}\n" if line else "\n" for line in alerts.splitlines())


def main() -> None:
    """Write the file anew."""
    RULE.write_text(rule_of(ALERTS.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
