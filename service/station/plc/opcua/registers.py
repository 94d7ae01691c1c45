"""Every bit and register of the handshake as a variable, for simple clients.

`Objects/Station/Verdict` has the id `s=Station.Verdict`. Clients read the variables;
the door writes the PLC's part of the handshake itself.
"""

from dataclasses import dataclass
from typing import Any

from asyncua import ua

from service.station.machine.images import PlcImage, StationImage
from service.station.plc.layout import PLC_WRITES, STATION_WRITES, Field, Kind
from service.station.plc.opcua.methods import Methods
from service.station.plc.opcua.vision import Vision

FOLDER = "Station"
METHOD = "TriggerPart"
_TYPES = {
    Kind.BIT: ua.VariantType.Boolean,
    Kind.WORD: ua.VariantType.UInt16,
    Kind.DOUBLE_WORD: ua.VariantType.UInt32,
    Kind.TEXT: ua.VariantType.String,
}


@dataclass(slots=True)
class _Register:
    node_id: ua.NodeId
    field: Field
    value: Any


class Registers:
    """The variables, and the method TriggerPart."""

    def __init__(self, vision: Vision) -> None:
        self._vision = vision
        self._of_plc = [self._register(field, PlcImage()) for field in PLC_WRITES]
        self._of_station = [
            self._register(field, StationImage(online=False)) for field in STATION_WRITES
        ]

    async def build(self, methods: Methods, trigger: Any) -> None:  # noqa: ANN401
        """Add the variables and the method TriggerPart."""
        namespace = self._vision.own
        folder = await self._vision.server.nodes.objects.add_object(
            ua.NodeId(FOLDER, namespace), ua.QualifiedName(FOLDER, namespace)
        )
        for register in (*self._of_plc, *self._of_station):
            name = ua.QualifiedName(register.field.name, namespace)
            kind = _TYPES[register.field.kind]
            node = await folder.add_variable(register.node_id, name, register.value, kind)
            text = ua.LocalizedText(register.field.meaning)
            await node.write_attribute(ua.AttributeIds.Description, ua.DataValue(text))
        node = await folder.add_method(
            ua.NodeId(f"{FOLDER}.{METHOD}", namespace),
            ua.QualifiedName(METHOD, namespace),
            trigger,
            [
                _argument("TriggerNumber", ua.ObjectIds.UInt32, "the client's number of the part"),
                _argument("PartId", ua.ObjectIds.String, "the client's name of the part"),
            ],
            [
                _argument("JobId", ua.ObjectIds.String, "id of the job"),
                _argument("Error", ua.ObjectIds.Int32, "0: the part is taken"),
            ],
        )
        await methods.link_node(node, METHOD, trigger, commands=True)

    async def show(self, image: StationImage, inputs: PlcImage) -> None:
        """Write the variables that have changed."""
        for registers, source in ((self._of_plc, inputs), (self._of_station, image)):
            for register in registers:
                value = _value(source, register.field)
                if value != register.value:
                    register.value = value
                    kind = _TYPES[register.field.kind]
                    await self._vision.write(register.node_id, value, kind)

    def _register(self, field: Field, image: PlcImage | StationImage) -> _Register:
        node_id = ua.NodeId(f"{FOLDER}.{field.name}", self._vision.own)
        return _Register(node_id, field, _value(image, field))


def _value(image: Any, field: Field) -> Any:  # noqa: ANN401
    for name in field.source.split("."):
        image = getattr(image, name)
    if field.kind is Kind.BIT:
        return bool(image)
    return str(image) if field.kind is Kind.TEXT else int(image)


def _argument(name: str, data_type: int, meaning: str) -> ua.Argument:
    return ua.Argument(
        Name=name,
        DataType=ua.NodeId(data_type),
        ValueRank=-1,
        Description=ua.LocalizedText(meaning),
    )
