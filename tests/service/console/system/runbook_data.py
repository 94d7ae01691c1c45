"""Makes the runbooks that the console shows, from docs/operate.md and the alerts of Prometheus.

Run `python -m tests.service.console.system.runbook_data`.
"""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from service.console.system.runbooks import FILE

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "operate.md"
ALERTS = ROOT / "docker" / "prometheus" / "alerts.yml"
SECTION = re.compile(r"(?m)^#{2,3} (.+)\n")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)]+)\)")
LABEL = re.compile(r"\{\{ \$labels\.(\w+) \}\}")
VALUES = {  # of one alert, which the list of all alerts does not have
    r"^\{\{ \$value[^}]*\}\}": "Too many",
    r"\{\{ \$value \| humanizeDuration \}\}": "too long",
    r"\{\{ \$value \| humanizePercentage \}\}": "nearly",
}


def sections(text: str) -> dict[str, str]:
    """Return each section's text by its title."""
    pieces = SECTION.split(text)
    return {title: body.strip() for title, body in zip(pieces[1::2], pieces[2::2], strict=True)}


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def plain(summary: str) -> str:
    """Return a summary with the names of labels, and words for the value."""
    for pattern, words in VALUES.items():
        summary = re.sub(pattern, words, summary)
    return LABEL.sub(lambda match: match[1].upper(), summary)


def made() -> str:
    """Return the file's content."""
    texts = sections(PAGE.read_text("utf-8"))
    by_anchor = {title.lower().replace(" ", "-"): title for title in texts}
    rules = alerts()
    entries: dict[str, dict[str, str]] = {}
    for name, rule in rules.items():
        severity, _, text = texts[name].partition(". ")
        assert severity == rule["labels"]["severity"], name
        entries[name] = {
            "name": name,
            "text": text,
            "severity": severity,
            "summary": plain(rule["annotations"]["summary"]),
            "condition": rule["expr"].strip(),
            "lasts": str(rule.get("for", "")),
        }
    targets = {target for e in entries.values() for _, target in LINK.findall(e["text"])}
    for anchor in sorted(targets):
        if anchor.startswith("#") and by_anchor[anchor[1:]] not in entries:
            title = by_anchor[anchor[1:]]
            entries[title] = {"name": title, "text": texts[title]}
    for entry in entries.values():  # the console has no other documents
        entry["text"] = LINK.sub(lambda m: m[0] if m[2].startswith("#") else m[1], entry["text"])
    return json.dumps(list(entries.values()), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(made(), "utf-8")
