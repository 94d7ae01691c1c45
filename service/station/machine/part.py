"""The part that the station works on, from its trigger until the line is told."""

from dataclasses import dataclass

from service.station.machine.events import Tell
from service.station.machine.images import ResultFields
from service.station.machine.verdicts import Outcome


@dataclass(slots=True)
class PartInWork:
    """One part; `trigger_number` and `part_id` are as the PLC had them at the trigger.

    A decision of the network is shown only when the spool has it, so that after a power cut the
    archive says what the PLC saw. Any other outcome is shown at once, because it is what a restart
    makes of a part that has none in the spool.
    """

    job: int
    recipe: int
    trigger_number: int
    part_id: str
    deadline_ms: float
    is_durable: bool = False
    outcome: Outcome | None = None
    is_being_written: bool = False
    """Whether the spool may have an outcome that differs from `outcome`, or no outcome yet."""

    @property
    def may_be_shown(self) -> bool:
        """Whether the PLC may see the outcome."""
        if self.outcome is None or not self.is_durable:
            return False
        return not self.is_being_written

    def decide(self, outcome: Outcome) -> list[Tell]:
        """Set the outcome, unless the network's decision is replaced by another of its kind."""
        if self.outcome is not None and not self._is_replaced_by(outcome):
            return []
        self.outcome = outcome
        return self.tell() if self.is_durable else []

    def tell(self) -> list[Tell]:
        """Have the outcome written, if there is one; a decision waits until it is."""
        if self.outcome is None:
            return []
        self.is_being_written = self.is_being_written or self.outcome.verdict.was_inspected
        return [Tell(self.job, self.outcome)]

    def result(self) -> ResultFields:
        """Return the registers of the result."""
        assert self.outcome is not None
        return result_fields(self.outcome, self.recipe, self.trigger_number, self.part_id)

    def _is_replaced_by(self, outcome: Outcome) -> bool:
        """Whether a part that was decided, but not shown, becomes UNDECIDED after all."""
        assert self.outcome is not None
        return self.outcome.verdict.was_inspected and not outcome.verdict.was_inspected


def result_fields(outcome: Outcome, recipe: int, trigger_number: int, part_id: str) -> ResultFields:
    """Return the registers of a part's result."""
    return ResultFields(
        verdict=outcome.verdict,
        fail_safe=outcome.fail_safe,
        reason=outcome.reason,
        score=outcome.score_register,
        recipe=recipe,
        trigger_number=trigger_number,
        part_id=part_id,
    )
