"""The JSON schema of the message, docs/message.schema.json, made from its models.

`python -m tests.service.delivery.message_schema` writes it again.
"""

import json
from pathlib import Path
from typing import Any

from service.delivery.message import MESSAGE_VERSION, Message

PAGE = Path(__file__).parents[3] / "docs" / "message.schema.json"


def schema() -> dict[str, Any]:
    """Return the schema; later versions of the service may add members."""
    made = Message.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:mambaad:message:{MESSAGE_VERSION}",
        **made,
    }


def main() -> None:
    """Write the page."""
    PAGE.write_text(json.dumps(schema(), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
