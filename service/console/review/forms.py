"""The forms in which a person judges or holds a part."""

from collections.abc import Mapping

from service.api.documents import build
from service.api.inspections.door import id_in
from service.api.inspections.schemas import HoldBody, VerdictBody
from service.archive.searching.judging import NewHold, NewVerdict, Seen


def seen_in(fields: Mapping[str, str]) -> Seen:
    """Return the verdict that stood when the form was drawn; an empty field says none."""
    text = fields.get("seen", "")
    return Seen(id_in(text) if text else None)


def new_verdict(fields: Mapping[str, str], author: str) -> NewVerdict:
    """Return the verdict of a form; only a defective part has a class of defect.

    A field `class` is a chosen one, and goes before what is written in `defect_class`. Raises
    `RequestValidationError`.
    """
    chosen, comment = fields.get("class", ""), fields.get("comment", "").strip()
    verdict = "defective" if chosen else fields.get("verdict", "")
    defect_class = (chosen or fields.get("defect_class", "")).strip()
    body = build(
        VerdictBody,
        {
            "verdict": verdict,
            "defect_class": (defect_class or None) if verdict == "defective" else None,
            "comment": comment or None,
        },
        "form",
    )
    return NewVerdict(body.verdict, author, body.defect_class, body.comment)


def new_hold(fields: Mapping[str, str], author: str) -> NewHold:
    """Return the hold of a form, or its release. Raises `RequestValidationError`."""
    reason = fields.get("reason", "").strip()
    values = {"is_held": fields.get("held") == "true", "reason": reason or None}
    body = build(HoldBody, values, "form")
    return NewHold(body.is_held, author, body.reason)
