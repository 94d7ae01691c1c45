"""The handshake of the trigger: Trigger is held until TriggerAck."""

from service.station.machine.images import PlcImage


class TriggerHandshake:
    """Finds the rising edges of Trigger while TriggerEnable is on.

    A Trigger that is on when the station starts, or when TriggerEnable comes on, is no edge.
    """

    def __init__(self) -> None:
        self._was_low = False
        self._is_held = False
        self.ack = False

    def rises(self, inputs: PlcImage) -> bool:
        """Whether Trigger has just come on."""
        if not inputs.trigger_enable:
            self._was_low = self._is_held = self.ack = False
            return False
        self._is_held = self._is_held and inputs.trigger
        is_edge = inputs.trigger and self._was_low
        self._was_low = not inputs.trigger
        return is_edge

    def accept(self) -> None:
        """Note that the present edge has started a part."""
        self._is_held = True

    def acknowledge(self, inputs: PlcImage) -> bool:
        """Switch TriggerAck on; return False if the PLC has dropped the Trigger of the part.

        Then TriggerAck stays off: the PLC would take it for the answer to a later Trigger.
        """
        self.ack = inputs.trigger_enable and inputs.trigger and self._is_held
        return self.ack or not inputs.trigger_enable

    def release(self, inputs: PlcImage) -> None:
        """Switch TriggerAck off after the PLC has dropped Trigger."""
        if not inputs.trigger:
            self.ack = False
