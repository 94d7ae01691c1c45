"""Events of OPC 40100-1, sent from the VisionSystem and from the Server object.

await events.send("JobStartedEventType", vision.node_id(AUTOMATIC), "job started", JobId=job)
"""

from typing import Any

from asyncua import ua
from asyncua.server.event_generator import EventGenerator

from service.station.plc.opcua.vision import Vision

EVENT_TYPES = {
    "StateChangedEventType": 1018,
    "ErrorEventType": 1019,
    "ErrorResolvedEventType": 1020,
    "RecipePreparedEventType": 1022,
    "ReadyEventType": 1023,
    "ResultReadyEventType": 1024,
    "AcquisitionDoneEventType": 1025,
    "JobStartedEventType": 1013,
}
_SEVERITY = 100
_ERROR_SEVERITY = 700


class Events:
    """Sends events; call `prepare` once."""

    def __init__(self, vision: Vision) -> None:
        self._vision = vision
        self._generators: dict[str, EventGenerator] = {}

    async def prepare(self) -> None:
        """Read the types of the events from the address space."""
        for name, number in EVENT_TYPES.items():
            self._generators[name] = await self._vision.server.get_event_generator(
                self._vision.type_id(number), self._vision.system.nodeid
            )

    async def send(
        self,
        name: str,
        source: ua.NodeId,
        message: str,
        **fields: ua.Variant,
    ) -> None:
        """Send an event; fields that are not given stay empty."""
        generator = self._generators[name]
        event: Any = generator.event
        event.SourceNode = source
        event.SourceName = str(source.Identifier).rpartition(".")[2]
        event.Severity = _ERROR_SEVERITY if name == "ErrorEventType" else _SEVERITY
        for field, content in fields.items():
            key = field.replace("__", "/")
            event.add_property(key, content.Value, content.VariantType)
        for node in (self._vision.system.nodeid, ua.NodeId(ua.ObjectIds.Server)):
            event.emitting_node = node
            await generator.trigger(message=message)


def extension(value: Any) -> ua.Variant:  # noqa: ANN401
    """Return a structure as a field or argument; None stays empty."""
    if value is None:
        return ua.Variant(None, ua.VariantType.Null)
    return ua.Variant(value, ua.VariantType.ExtensionObject)
