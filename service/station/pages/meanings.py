"""Errors and reasons in the words of the people at the machine."""

from service.station.machine.faults import ErrorCode
from service.station.machine.states import State
from service.station.machine.verdicts import FailSafe, Reason, Verdict

ERRORS = {
    ErrorCode.UNCLEAN_RESTART: "The station ended with a part in work. That part is UNDECIDED.",
    ErrorCode.SPOOL_UNWRITABLE: "The station's disk refuses. No part is taken.",
    ErrorCode.SPOOL_FULL: "The spool or its disk is full. Is the service away? No part is taken.",
    ErrorCode.STOPPED: "A part without decision had the fail-safe STOP.",
    ErrorCode.UNKNOWN_RECIPE: "The PLC asked for a recipe that is not in station.yaml.",
    ErrorCode.RECIPE_FAILED: "The service could not inspect the recipe's categories in time.",
    ErrorCode.MISSED_TRIGGER: "A Trigger came while Ready was off. That part was not taken.",
    ErrorCode.OVERRUN: "The PLC did not acknowledge a result in time.",
    ErrorCode.TRIGGER_DROPPED: "The PLC dropped Trigger before TriggerAck.",
}
REASONS = {
    Reason.NONE: "",
    Reason.DEADLINE: "no decision in time",
    Reason.SERVICE_AWAY: "the service does not answer",
    Reason.SERVICE_REFUSED: "the service refuses the request",
    Reason.INSPECTION_FAILED: "the inspection failed",
    Reason.CAMERA_SILENT: "no image from the camera",
    Reason.IMAGE_UNREADABLE: "the image cannot be read",
    Reason.IMAGE_BLACK: "the image is black",
    Reason.IMAGE_FROZEN: "the same image as before",
    Reason.IMAGE_SIZE: "the image has another size",
    Reason.ABORTED: "aborted",
    Reason.STATION_RESTARTED: "the station was restarted",
}
STATES = {
    State.PREOPERATIONAL: "waits for the command SelectModeAutomatic",
    State.HALTED: "halted by a command; Reset ends it",
    State.ERROR: "stopped by an error; acknowledge it",
    State.INITIALIZED: "waits for a recipe, or prepares it",
    State.READY: "waits for a Trigger",
    State.SINGLE_EXECUTION: "inspects a part",
    State.CONTINUOUS_EXECUTION: "inspects part after part",
}
VERDICTS = {
    Verdict.NONE: "no result yet",
    Verdict.OK: "the part may pass",
    Verdict.NG: "the part is defective",
    Verdict.REVIEW: "a person must look",
    Verdict.UNDECIDED: "nobody decided",
    Verdict.INPUT_PROBLEM: "the image is not usable",
}
FAIL_SAFES = {
    FailSafe.NONE: "",
    FailSafe.NG: "treat it as NG",
    FailSafe.REVIEW: "a person must look",
    FailSafe.STOP: "stop the line",
}


def error_meaning(code: ErrorCode) -> str:
    """Return an error in a sentence, else its name."""
    return ERRORS.get(code, words(code.name))


def reason_meaning(reason: Reason) -> str:
    """Return why there is no decision, else the reason's name; nothing for NONE."""
    return REASONS.get(reason, words(reason.name).lower())


def words(name: str) -> str:
    """Return a code's name for people.

    >>> words("INPUT_PROBLEM")
    'INPUT PROBLEM'
    """
    return name.replace("_", " ")
