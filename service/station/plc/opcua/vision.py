"""The address space: a VisionSystem of the official NodeSet, less what the station does not have.

    vision = await build_vision(server)
    vision.node("VisionStateMachine.CurrentState")

Every node of the VisionSystem has a string as its id, its path: `s=VisionSystem.RecipeManagement`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import Node, ua
from asyncua.common.manage_nodes import delete_nodes

from service.station.plc.opcua.server import StationServer

NODESET = Path(__file__).with_name("Opc.Ua.MachineVision.NodeSet2.xml")
MACHINE_VISION = "http://opcfoundation.org/UA/MachineVision"
STATION = "urn:mambaad:opcua:station"
"""Namespace of the station's own nodes."""
SYSTEM = "VisionSystem"
STATE_MACHINE = "VisionStateMachine"
AUTOMATIC = f"{STATE_MACHINE}.AutomaticModeStateMachine"

_VISION_SYSTEM_TYPE = 1003
_BINARY_ID_BASE = 3019
_BINARY_IDS = {
    "ConfigurationIdDataType": 3008,
    "RecipeIdExternalDataType": 3002,
    "RecipeIdInternalDataType": 3013,
}
"""Ids of recipes and configurations: structures that have only their base's members."""
_LEFT_OUT = (
    "DiagnosticLevel",
    "SystemState",
    "SafetyStateManagement",
    "ConfigurationManagement.AddConfiguration",
    "ConfigurationManagement.ConfigurationTransfer",
    "ConfigurationManagement.Configurations",
    "ConfigurationManagement.RemoveConfiguration",
    "RecipeManagement.AddRecipe",
    "RecipeManagement.PrepareProduct",
    "RecipeManagement.Products",
    "RecipeManagement.RecipeTransfer",
    "RecipeManagement.Recipes",
    "RecipeManagement.RemoveRecipe",
    "RecipeManagement.UnlinkProduct",
    "RecipeManagement.UnprepareProduct",
    "ResultManagement.ResultTransfer",
    f"{STATE_MACHINE}.ErrorStepModel",
    f"{STATE_MACHINE}.HaltedStepModel",
    f"{STATE_MACHINE}.PreoperationalStepModel",
    f"{AUTOMATIC}.ContinuousExecutionStepModel",
    f"{AUTOMATIC}.InitializedStepModel",
    f"{AUTOMATIC}.ReadyStepModel",
    f"{AUTOMATIC}.SimulationMode",
    f"{AUTOMATIC}.SingleExecutionStepModel",
)
"""Optional parts of the type that the station does not have."""


@dataclass(frozen=True)
class Vision:
    """The VisionSystem in a server's address space."""

    server: StationServer
    standard: int
    """Index of the namespace of OPC 40100-1."""
    own: int
    """Index of the station's namespace."""

    @property
    def system(self) -> Node:
        """The VisionSystem."""
        return self.server.get_node(ua.NodeId(SYSTEM, self.own))

    def node(self, path: str) -> Node:
        """Return a node below the VisionSystem."""
        return self.server.get_node(self.node_id(path))

    def node_id(self, path: str) -> ua.NodeId:
        """Return the id of a node below the VisionSystem."""
        return ua.NodeId(f"{SYSTEM}.{path}", self.own)

    def type_id(self, number: int) -> ua.NodeId:
        """Return the id of a type of the NodeSet."""
        return ua.NodeId(number, self.standard)

    async def write(
        self,
        node_id: ua.NodeId,
        value: Any,  # noqa: ANN401
        kind: ua.VariantType,
        status: int = ua.StatusCodes.Good,
    ) -> None:
        """Write a variable of the server."""
        now = datetime.now(UTC)
        content = ua.DataValue(
            ua.Variant(value, kind), ua.StatusCode(status),
            SourceTimestamp=now, ServerTimestamp=now,
        )  # fmt: skip
        await self.server.iserver.write_attribute_value(node_id, content)


async def build_vision(server: StationServer) -> Vision:
    """Import the NodeSet and add one VisionSystem."""
    await server.import_xml(NODESET)
    standard = await server.get_namespace_index(MACHINE_VISION)
    for name, number in _BINARY_IDS.items():
        if hasattr(ua, name):
            delattr(ua, name)  # asyncua keeps the first class of a name, here that of the base
        await _define(server, ua.NodeId(number, standard), ua.NodeId(_BINARY_ID_BASE, standard))
    await server.load_data_type_definitions()
    own = await server.register_namespace(STATION)
    await server.nodes.objects.add_object(
        ua.NodeId(SYSTEM, own),
        ua.QualifiedName(SYSTEM, own),
        objecttype=ua.NodeId(_VISION_SYSTEM_TYPE, standard),
    )
    vision = Vision(server, standard, own)
    for path in _LEFT_OUT:
        await _leave_out(vision, path)
    return vision


async def _leave_out(vision: Vision, path: str) -> None:
    """Delete an optional part; only its parent refers to it, so no other node is searched."""
    node, above = vision.node(path), path.rpartition(".")[0]
    parent = vision.node(above) if above else vision.system
    await parent.delete_reference(node, ua.ObjectIds.HasComponent, forward=True)
    await delete_nodes(node.session, [node], recursive=True, delete_target_references=False)


async def _define(server: StationServer, data_type: ua.NodeId, base: ua.NodeId) -> None:
    """Give a structure its base's members: asyncua imports it as a structure without any."""
    node = server.get_node(data_type)
    definition = await server.get_node(base).read_data_type_definition()
    fields = list(definition.Fields)
    for encoding in await node.get_referenced_nodes(ua.ObjectIds.HasEncoding):
        if (await encoding.read_browse_name()).Name == "Default Binary":
            own = ua.StructureDefinition(
                DefaultEncodingId=encoding.nodeid, BaseDataType=base,
                StructureType=definition.StructureType, Fields=fields,
            )  # fmt: skip
            content = ua.DataValue(ua.Variant(own, ua.VariantType.ExtensionObject))
            await node.write_attribute(ua.AttributeIds.DataTypeDefinition, content)


def structure(name: str, **members: Any) -> Any:  # noqa: ANN401
    """Return a structure of the NodeSet, whose class exists once the NodeSet is imported."""
    return getattr(ua, name)(**members)
