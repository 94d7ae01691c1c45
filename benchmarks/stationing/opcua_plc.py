"""An OPC UA client that triggers parts, one after another.

python -m benchmarks.stationing.opcua_plc opc.tcp://127.0.0.1:4840/station 1000
"""

import asyncio
import json
import sys
from typing import Any

from asyncua import Client, ua
from asyncua.common.events import Event

_SYSTEM = "ns=3;s=VisionSystem"
_RESULT_READY = ua.NodeId(1024, 2)
_NOTHING = ua.Variant(None, ua.VariantType.Null)
_PUBLISHING_MS = 10
_TIMEOUT_S = 60


class Results:
    """Receives the events of results."""

    def __init__(self) -> None:
        self.part_ids: asyncio.Queue[str] = asyncio.Queue()

    def event_notification(self, event: Event) -> None:
        """Note whose result it is."""
        content = json.loads(event.ResultContent[0])
        self.part_ids.put_nowait(content["part_id"])


async def trigger(url: str, parts: int) -> None:
    """Prepare recipe 1, then trigger parts. Raises `RuntimeError` for a result of another part."""
    async with Client(url, timeout=_TIMEOUT_S) as client:
        await client.load_data_type_definitions()
        await _call(client, f"{_SYSTEM}.VisionStateMachine.SelectModeAutomatic")
        recipe = ua.RecipeIdExternalDataType(Id="1")
        await _call(client, f"{_SYSTEM}.RecipeManagement.PrepareRecipe", recipe, _NOTHING)
        results = Results()
        subscription = await client.create_subscription(_PUBLISHING_MS, results)
        await subscription.subscribe_events(
            client.get_node(_SYSTEM), client.get_node(_RESULT_READY)
        )
        ready = client.get_node("ns=3;s=Station.Ready")
        for number in range(1, parts + 1):
            while not await ready.read_value():
                await asyncio.sleep(0.001)
            part_id = f"part-{number}"
            await _call(
                client,
                "ns=3;s=Station.TriggerPart",
                ua.Variant(number, ua.VariantType.UInt32),
                ua.Variant(part_id, ua.VariantType.String),
            )
            seen = await asyncio.wait_for(results.part_ids.get(), _TIMEOUT_S)
            if seen != part_id:
                raise RuntimeError(f"expected the result of {part_id}, got that of {seen}")


async def _call(client: Client, path: str, *arguments: Any) -> None:  # noqa: ANN401
    method = client.get_node(path)
    await (await method.get_parent()).call_method(method, *arguments)


if __name__ == "__main__":
    asyncio.run(trigger(sys.argv[1], int(sys.argv[2])))
